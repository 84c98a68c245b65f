"""``outdated``: how workflow checkouts stand to their template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflow_runtime.cli.options import json_option
from dataflow_runtime.cli.output import announced_home, print_json, print_table
from dataflow_runtime.errors import DataflowError

if TYPE_CHECKING:
    from dataflow_runtime.fleet.status import Status
    from dataflow_runtime.fleet.template import Templates

__all__ = ["folders_argument", "open_templates", "outdated_command"]

folders_argument = click.argument(
    "folders",
    metavar="[DIR]...",
    nargs=-1,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)


@click.command("outdated")
@folders_argument
@json_option
@click.pass_context
def outdated_command(ctx: click.Context, *, folders: Sequence[Path], as_json: bool) -> None:
    """Compare workflow checkouts with their template: versions behind, files edited or missing since.

    Every checkout below the folders (by default the working directory), and every workflow that is installed as
    editable. Exit code 1 if one is behind, or cannot be told.
    """
    templates = open_templates()
    from dataflow_runtime.fleet.checkouts import find_checkouts, find_editable
    from dataflow_runtime.fleet.status import statuses

    found = {
        checkout.path: checkout
        for checkout in [*find_editable(), *find_checkouts(folders or [Path()])]
    }
    rows = statuses([found[path] for path in sorted(found)], templates)
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        _print(rows)
    if any(row.behind or row.error for row in rows):
        ctx.exit(1)


def open_templates() -> Templates:
    """Return the templates of the fleet, their clones kept below ``DATAFLOW_HOME``.

    Raises:
        DataflowError: Copier is not installed.
    """
    try:
        from dataflow_runtime.fleet.template import Templates
    except ModuleNotFoundError as error:
        if error.name != "copier":
            raise
        hint = "pip install 'dataflow-runtime[fleet]'"
        raise DataflowError(
            "this command needs copier, which is not installed", hint=hint
        ) from None
    return Templates(announced_home().home / "templates")


def _print(rows: Sequence[Status]) -> None:
    from dataflow_runtime.config.problems import display_path

    if not rows:
        click.echo("no workflow checkout is found", err=True)
        return
    cells = []
    for row in rows:
        behind = None if row.behind is None else str(row.behind)
        drift = ", ".join(
            [*(row.edited or []), *(f"{file} (missing)" for file in row.missing or [])]
        )
        known = [cell or "–" for cell in (row.version, row.latest, behind, row.runtime)]
        cells.append(
            (
                row.workflow,
                *known,
                display_path(row.path),
                f"error: {row.error}" if row.error else drift or "–",
            )
        )
    print_table(
        cells, header=("workflow", "version", "latest", "behind", "runtime", "path", "edited")
    )
    outdated = sum(bool(row.behind) for row in rows)
    failed = sum(bool(row.error) for row in rows)
    edited = sum(bool(row.edited or row.missing) for row in rows)
    unknown = f", {failed} cannot be told" if failed else ""
    click.echo(
        f"{len(rows)} checkout{'s' if len(rows) != 1 else ''}: {outdated} behind, {edited} edited since{unknown}"
    )
