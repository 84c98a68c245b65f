"""``dashboards``: the Evidence site of all installed workflows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflow_runtime.cli import options, output
from dataflow_runtime.cli.failures import require

if TYPE_CHECKING:
    from dataflow_runtime.dashboards.build import BuildReport


@click.group("dashboards", cls=options.Group)
def dashboards_group() -> None:
    """Build or serve the dashboards of all installed workflows."""
    require("run")


@dashboards_group.command("build")
@click.option(
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the site; by default $DATAFLOW_HOME/dashboards/site.",
)
@options.json_option
def build_command(*, folder: Path | None, as_json: bool) -> int:
    """Build the site, as files that any static host serves.

    A broken dashboard does not stop the others. Exit code 1 if there is one.

    \b
    Example:
      dataflow-runtime dashboards build --output public
    """
    output.announced_home()
    with output.quiet_stdout(), output.Progress("building", lines=True) as progress:
        from dataflow_runtime.dashboards.build import build_site

        report = build_site(folder, on_progress=progress.update)
    if as_json:
        output.print_json(report.to_json())
    else:
        _print_summary(report)
    return int(report.failed)


@dashboards_group.command("dev")
@options.address_options(port=3001)
def dev_command(*, port: int, host: str) -> int:
    """Serve the site and follow edits of pages, components and queries; Ctrl-C stops it.

    \b
    Example:
      dataflow-runtime dashboards dev --port 3001
    """
    require("dashboards")
    output.announced_home()
    from dataflow_runtime.dashboards.dev import serve

    with output.Progress("starting", lines=True) as progress:
        return serve(host, port, on_progress=progress.update)


def _print_summary(report: BuildReport) -> None:
    rows = []
    for dashboard in report.dashboards:
        counts = (dashboard.rows, dashboard.rejected)
        numbers = ["–" if count is None else f"{count:,}" for count in counts]
        rows.append([dashboard.name, dashboard.status, *numbers, dashboard.note or ""])
    if rows:
        output.print_table(rows, header=("workflow", "dashboard", "rows", "rejected", ""))
    output.echo(output.clean(f"site: {report.output}"))
    for dashboard in report.dashboards:
        for warning in dashboard.warnings:
            output.print_error(f"{dashboard.name}: {warning}", label="warning")
        for problem in dashboard.problems:
            output.print_error(f"{dashboard.name}: {problem}")
