"""``dashboards``: the Evidence site of all installed workflows."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataflow_runtime.cli.options import json_option
from dataflow_runtime.cli.output import (
    announced_home,
    print_json,
    print_table,
    quiet_stdout,
)
from dataflow_runtime.errors import DataflowError

if TYPE_CHECKING:
    from dataflow_runtime.dashboards.build import BuildReport

__all__ = ["dashboards_group"]


@click.group("dashboards")
def dashboards_group() -> None:
    """Build or serve the dashboards of all installed workflows."""
    _need("duckdb", "filelock")
    # So that Node's processes are ended with this one, whichever way it is told to stop.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _need(*modules: str) -> None:
    from importlib.util import find_spec

    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise DataflowError(
            f"{missing[0]} is not installed", hint='pip install "dataflow-runtime[dashboards]"'
        )


@dashboards_group.command("build")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the site; by default $DATAFLOW_HOME/dashboards/site.",
)
@json_option
@click.pass_context
def build_command(ctx: click.Context, *, output: Path | None, as_json: bool) -> None:
    """Build the site, as files that any static host serves. Exit 1 if a dashboard is broken; the others are built."""
    announced_home()
    with quiet_stdout(), _Progress() as progress:
        from dataflow_runtime.dashboards.build import build_site

        report = build_site(output, on_progress=progress)
    if as_json:
        print_json(report.to_json())
    else:
        _summary(report)
    if report.failed:
        ctx.exit(1)


@dashboards_group.command("dev")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=3001,
    show_default=True,
    help="Port of the site.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that it binds to.")
@click.pass_context
def dev_command(ctx: click.Context, *, port: int, host: str) -> None:
    """Serve the site and follow edits of the workflows' pages, components and queries; Ctrl-C stops it."""
    _need("watchfiles")
    announced_home()
    from dataflow_runtime.dashboards.watch import serve

    with _Progress() as progress:
        ctx.exit(serve(host, port, on_progress=progress))


class _Progress:
    """Says what is being done: on one line that changes in a terminal, a line each elsewhere."""

    def __init__(self) -> None:
        self._status: Any = None

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("")
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, text: str) -> None:
        if self._status is None:
            click.echo(text, err=True)
        else:
            self._status.start()
            self._status.update(f"{text} …")


def _summary(report: BuildReport) -> None:
    if report.dashboards:
        print_table(
            [
                (
                    dashboard.name,
                    dashboard.status,
                    *(
                        "–" if number is None else f"{number:,}"
                        for number in (dashboard.rows, dashboard.rejected)
                    ),
                    dashboard.note or "",
                )
                for dashboard in report.dashboards
            ],
            header=("workflow", "dashboard", "rows", "rejected", ""),
        )
    click.echo(f"site: {report.output}")
    for dashboard in report.dashboards:
        for problem in dashboard.problems:
            click.secho("error: ", fg="red", bold=True, nl=False, err=True)
            click.echo(f"{dashboard.name}: {problem}", err=True)
