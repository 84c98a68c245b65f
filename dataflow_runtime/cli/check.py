"""``check``: everything that CI should know of the installed workflows."""

from __future__ import annotations

import click

from dataflow_runtime.cli.output import announced_home, json_option, print_json, quiet_stdout

__all__ = ["check_command"]


@click.command("check")
@click.argument("names", nargs=-1)
@json_option
@click.pass_context
def check_command(ctx: click.Context, *, names: tuple[str, ...], as_json: bool) -> None:
    """Import the workflows, validate their configs, parse their dbt projects. Exit 1 if one is broken."""
    announced_home()
    with quiet_stdout():
        from dataflow_runtime.orchestration.check import check_workflows

        results = check_workflows(names)
    if as_json:
        print_json([result.to_json() for result in results])
    else:
        for result in results:
            good = result.status == "ok"
            click.secho(f"{'ok' if good else 'broken':<7}", fg="green" if good else "red", nl=False)
            click.echo(f"{result.name} ({result.package} {result.version})")
            for problem in result.problems:
                where = ":".join(
                    str(part) for part in (problem.file, problem.line) if part is not None
                )
                click.echo(
                    f"       {problem.kind}: {where + ': ' if where else ''}{problem.message}"
                )
        if not results:
            click.echo("no workflow is installed", err=True)
    if any(result.status != "ok" for result in results):
        ctx.exit(1)
