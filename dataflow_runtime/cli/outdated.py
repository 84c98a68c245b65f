"""``outdated``: compares workflow checkouts with their template."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dataflow_runtime.cli.failures import require
from dataflow_runtime.cli.options import json_option
from dataflow_runtime.cli.output import (
    Progress,
    announced_home,
    clean,
    echo,
    plural,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from dataflow_runtime.fleet.status import Compared, Status

__all__ = ["compare_checkouts", "folders_argument", "jobs_option", "outdated_command"]

F = TypeVar("F", bound=Callable[..., Any])

folders_argument = click.argument(
    "folders",
    metavar="[DIR]...",
    nargs=-1,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
jobs_option = click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    show_default="processors",
    help="How many at a time.",
)


@click.command("outdated")
@folders_argument
@jobs_option
@json_option
@click.pass_context
def outdated_command(
    ctx: click.Context, *, folders: Sequence[Path], jobs: int, as_json: bool
) -> None:
    """Compare workflow checkouts with their template: commits behind, files edited or missing.

    Looks at every checkout in and below the folders (by default the working directory), and every
    workflow that is installed as editable. Exit code 1 if one is behind or unknown.

    \b
    Example:
      dataflow-runtime outdated ~/workflows
    """
    compared = compare_checkouts(folders, editable=True)
    from dataflow_runtime.fleet.status import with_drift

    rows = []
    with Progress("comparing files") as progress:
        if compared and not as_json:
            behind = sum(bool(row.status.behind) for row in compared)
            progress.done(f"{behind} of {plural(len(compared), 'checkout')} behind the template")
        for row in with_drift(compared, jobs):
            rows.append(row)
            progress.update(f"comparing files: {len(rows)} of {plural(len(compared), 'checkout')}")
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        _print(rows)
    if any(row.behind or row.error for row in rows):
        ctx.exit(1)


def compare_checkouts(
    folders: Sequence[Path], *, editable: bool, template: str | None = None
) -> list[Compared]:
    """Find checkouts and compare their versions; clones of templates go to ``DATAFLOW_HOME``.

    Args:
        folders: Where to look; empty for the working directory.
        editable: Whether to add the workflows that are installed as editable.
        template: The template of all checkouts; None for the one that each names.
    """
    require("fleet")
    from dataflow_runtime.fleet.checkouts import find_checkouts, find_editable
    from dataflow_runtime.fleet.status import compare

    checkouts = find_checkouts(folders or [Path()])
    found = {one.path: one for one in [*checkouts, *(find_editable() if editable else ())]}
    if not found:
        echo("found no workflow checkout", err=True)
        return []
    clones = announced_home().home / "templates"
    return compare([found[path] for path in sorted(found)], clones, template)


def _print(rows: Sequence[Status]) -> None:
    from dataflow_runtime.config.problems import display_path

    if not rows:
        return
    cells = []
    for row in rows:
        behind = None if row.behind is None else str(row.behind)
        missing = [f"{file} (missing)" for file in row.missing or []]
        drift = f"error: {row.error}" if row.error else ", ".join([*(row.edited or []), *missing])
        known = [row.version, row.latest, behind, row.runtime, display_path(row.path), drift]
        cells.append((row.workflow, *(cell or "–" for cell in known)))
    header = ("workflow", "version", "latest", "behind", "runtime", "path", "edited")
    print_table(cells, header=header)
    outdated = sum(bool(row.behind) for row in rows)
    edited = sum(bool(row.edited or row.missing) for row in rows)
    unknown = sum(bool(row.error) for row in rows)
    counts = f"{outdated} behind, {edited} edited" + (f", {unknown} unknown" if unknown else "")
    echo(clean(f"{plural(len(rows), 'checkout')}: {counts}"))
