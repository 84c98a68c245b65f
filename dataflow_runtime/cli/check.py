"""``check``: everything that CI should know about the installed workflows."""

from __future__ import annotations

import click

from dataflow_runtime.cli.failures import require
from dataflow_runtime.cli.options import json_option, names_argument
from dataflow_runtime.cli.output import (
    Progress,
    announced_home,
    clean,
    echo,
    print_json,
    quiet_stdout,
    styled,
)

__all__ = ["check_command"]


@click.command("check")
@names_argument
@json_option
@click.pass_context
def check_command(ctx: click.Context, *, names: tuple[str, ...], as_json: bool) -> None:
    """Import the workflows, validate their configs, parse their dbt projects.

    Exit code 1 if one is broken.

    \b
    Examples:
      dataflow-runtime check
      dataflow-runtime check my_workflow --json
    """
    require("run")
    announced_home()
    with quiet_stdout(), Progress("checking the workflows"):
        from dataflow_runtime.orchestration.check import check_workflows

        results = check_workflows(names)
    if as_json:
        print_json([result.to_json() for result in results])
    elif not results:
        echo("no workflow is installed", err=True)
    else:
        for result in results:
            color = "green" if result.status == "ok" else "red"
            about = clean(f"{result.name} ({result.package} {result.version})")
            echo(f"{styled(f'{result.status:<6}', fg=color)} {about}")
            for problem in result.problems:
                parts = (problem.file, problem.line)
                where = ":".join(str(part) for part in parts if part is not None)
                place = f"{where}: " if where else ""
                echo(clean(f"       {problem.kind}: {place}{problem.message}"))
    if any(result.status != "ok" for result in results):
        ctx.exit(1)
