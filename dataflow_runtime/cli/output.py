"""What the commands share for their output: JSON on stdout and nothing beside it, tables, times."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from dataflow_runtime.settings import Settings

__all__ = ["announced_home", "json_option", "print_json", "print_table", "quiet_stdout"]

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Add ``--json``, which every command that prints data has."""
    return click.option(
        "as_json", "--json", is_flag=True, help="Print JSON, and nothing else on stdout."
    )(command)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def announced_home() -> Settings:
    """Return the settings; a home folder that had to be made is named on stderr, so that nobody looks for it."""
    from dataflow_runtime.settings import get_settings

    settings = get_settings()
    if settings.make_home():
        click.echo(f"made {settings.home}: state is kept there (DATAFLOW_HOME)", err=True)
    return settings


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send to stderr whatever is written to stdout meanwhile, by Python or below it.

    For code that is not ours: what a workflow prints must not mix with what the command prints.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    stdout = sys.stdout
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = stdout
        stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def print_table(
    rows: Sequence[Sequence[str]], *, header: Sequence[str] = (), styles: Mapping[str, str] = {}
) -> None:
    """Print rows in aligned columns, the first one bold; a cell whose text is in `styles` takes that colour.

    A cell may have several lines. In a terminal the last column is cut at its edge, elsewhere nothing is. Laid out by
    hand: rich takes as long to lay out 200 rows as everything else that a listing does.
    """
    lines = [
        line
        for row in rows
        for line in zip_longest(*(cell.split("\n") for cell in row), fillvalue="")
    ]
    everything = [header, *lines] if header else lines
    widths = [max(map(_width, column)) for column in zip(*everything, strict=True)]
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    room = max(edge - sum(widths[:-1]) - 2 * (len(widths) - 1), 20)
    for number, line in enumerate(everything):
        head = bool(header) and number == 0
        cells = [
            _cut(cell, room) if place == len(line) - 1 else cell for place, cell in enumerate(line)
        ]
        gaps = [" " * (width - _width(cell) + 2) for cell, width in zip(cells, widths, strict=True)]
        styled = [
            click.style(cell, bold=head or place == 0, underline=head, fg=styles.get(cell))
            if cell
            else ""
            for place, cell in enumerate(cells)
        ]
        click.echo("".join(map("".join, zip(styled, gaps, strict=True))).rstrip())


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _cut(text: str, room: int) -> str:
    if _width(text) <= room:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, room - 1) + "…"
