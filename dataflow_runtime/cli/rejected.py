"""``rejected``: the rows that checks refused, with the reasons."""

from __future__ import annotations

import click

from dataflow_runtime.cli import options, output
from dataflow_runtime.cli.failures import require


@click.command("rejected")
@options.name_argument
@click.option("--check", metavar="CHECK", help="Only rows that failed this check.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Rows.")
@options.env_option
@options.json_option
def rejected_command(
    *, name: str, check: str | None, limit: int, env: str | None, as_json: bool
) -> None:
    """Show rejected rows, the newest first, with the checks that they failed.

    \b
    Examples:
      dataflow-runtime rejected my_workflow --check positive_amount
      dataflow-runtime run my_workflow --rejected
    """
    from dataflow_runtime.config import config_manager

    config = config_manager.load_config(name, env=env)
    require("run")
    from dataflow_runtime.pipeline.rejected import ANY_CHECK, show_rejected

    rows = show_rejected(config, check or ANY_CHECK, limit)
    for row in rows:
        row["rejected_at"] = row["rejected_at"].isoformat(timespec="seconds")
    if as_json:
        output.print_json(rows)
        return
    if not rows:
        output.echo("no row is rejected", err=True)
        return
    header = ("rejected at", "checks", "row")
    cells = [(row["rejected_at"], row["checks"].replace(",", "\n"), row["row"]) for row in rows]
    output.print_table(cells, header=header)
