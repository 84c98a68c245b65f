"""``check``: everything that CI should know about the installed workflows."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from dataflow_runtime.cli import options, output
from dataflow_runtime.cli.failures import require


@click.command("check")
@options.names_argument
@click.option("--build", is_flag=True, help="Build the dbt models, too, on tables without rows.")
@options.json_option
def check_command(*, names: Sequence[str], build: bool, as_json: bool) -> int:
    """Import the workflows, validate their configs, parse their dbt projects.

    With --build, models that name an absent column are found: they are built in a scratch DuckDB,
    and no warehouse is touched. Exit code 1 if a workflow is broken.

    \b
    Examples:
      dataflow-runtime check
      dataflow-runtime check my_workflow --build --json
    """
    require("run")
    output.announced_home()
    # No status line that changes: what the workflows print would be mixed into it.
    output.echo("checking the workflows …", err=True)
    with output.quiet_stdout():
        from dataflow_runtime.orchestration.check import CheckResult, check_workflows

        def show(result: CheckResult) -> None:
            if sys.stderr.isatty():
                output.echo(output.clean(f"  checked {result.name}"), err=True)

        results = check_workflows(names, build=build, on_checked=show)
    if as_json:
        output.print_json([result.to_json() for result in results])
    elif not results:
        output.echo("no workflow is installed", err=True)
    for result in [] if as_json else results:
        package = f"{result.installed.package} {result.installed.version}"
        about = output.clean(f"{result.name} ({package})")
        output.echo(f"{output.status(result.status, 6)} {about}")
        for problem in result.problems:
            place = f"{problem.file}:{problem.line}" if problem.line else problem.file
            parts = [problem.kind, place, problem.message]
            output.echo(output.clean(f"       {': '.join(part for part in parts if part)}"))
            if problem.hint:
                output.echo(output.clean(f"         hint: {problem.hint}"))
    return int(any(result.status != "ok" for result in results))
