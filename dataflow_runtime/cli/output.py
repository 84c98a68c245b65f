"""What the commands print with: JSON, tables, errors and hints, progress.

Answers go to stdout; errors, notes and progress go to stderr. Text that comes from elsewhere goes
through `clean` or `styled`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from dataflow_runtime.settings import Settings

_COLORS = {
    **dict.fromkeys(("ok", "valid", "success"), "green"),
    **dict.fromkeys(("unknown", "warning", "not run"), "yellow"),
    **dict.fromkeys(("broken", "invalid", "failure", "problem"), "red"),
}


def _has_colors() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def clean(text: str) -> str:
    """Replace the characters that could move a terminal's cursor, rewrite lines or reorder text."""
    return re.sub(r"[^\n\t -~]", lambda found: found[0] if found[0].isprintable() else "�", text)


def styled(text: str, **style: Any) -> str:
    """Return cleaned text in a style of `click.style`."""
    return click.style(clean(text), **style) if _has_colors() else clean(text)


def status(word: str, width: int = 0) -> str:
    """Return a status such as ``ok`` or ``broken`` in its colour."""
    return styled(word.ljust(width), fg=_COLORS.get(word))


def echo(text: str, *, err: bool = False) -> None:
    """Print a line made of `clean` and `styled` parts."""
    click.echo(text, err=err)


def plural(count: int, noun: str) -> str:
    """Return ``1 workflow``, ``2 workflows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def print_error(message: str, hint: str | None = None, *, label: str = "error") -> None:
    """Print what went wrong, and what to do about it, to stderr."""
    color = "red" if label == "error" else "yellow"
    echo(f"{styled(f'{label}:', fg=color, bold=True)} {clean(message)}", err=True)
    if hint:
        echo(f"{styled('hint:', fg='cyan', bold=True)} {clean(hint)}", err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON, with escapes for what is not printable, lone surrogates included."""

    def escaped(found: re.Match[str]) -> str:
        return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]

    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    echo(re.sub(r"[^\n -~]", escaped, text))


def print_table(rows: Sequence[Sequence[str]], *, header: Sequence[str] = ()) -> None:
    """Print rows in columns; a cell that is a status takes its colour.

    In a terminal the columns fit its width: long cells fold between words. Where that is not
    enough, each row becomes a list of its cells. So no name or id is ever cut or broken, as rich
    would do. Without a terminal nothing folds.
    """
    table = [[clean(cell) for cell in row] for row in ([header, *rows] if header else rows)]
    widths = _fitting_widths(list(zip(*table, strict=True)))
    if widths is None:
        _print_records(rows, header)
        return
    for number, row in enumerate(table):
        is_head = bool(header) and number == 0
        folded = [_folded(cell, width) for cell, width in zip(row, widths, strict=True)]
        for line in zip_longest(*folded, fillvalue=""):
            cells: list[str] = []
            for text, width in zip(line, widths, strict=True):
                bold = (is_head or not cells) or None
                cell = styled(text, bold=bold, underline=is_head or None, fg=_COLORS.get(text))
                cells.append((cell if text else "") + " " * (width - _width(text)))
            echo("  ".join(cells).rstrip())


def _fitting_widths(columns: Sequence[Sequence[str]]) -> list[int] | None:
    """Return the widths of columns in this terminal; None where their longest words do not fit."""
    widths = [max(_width(line) for line in "\n".join(cells).split("\n")) for cells in columns]
    words = [max(map(_width, " ".join(cells).split()), default=0) for cells in columns]
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    room = edge - 2 * (len(columns) - 1)
    if sum(words) > room:
        return None
    while sum(widths) > room:
        slack = [width if width > word else 0 for width, word in zip(widths, words, strict=True)]
        widths[slack.index(max(slack))] -= 1
    return widths


def _folded(cell: str, width: int) -> list[str]:
    lines = []
    for line in cell.split("\n"):
        if len(line) <= width:
            lines.append(line.rstrip())
        else:
            lines += textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
    return lines


def _print_records(rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
    width, indent = shutil.get_terminal_size().columns, "  " if header else ""
    for first, *others in rows:
        if header:
            echo(styled(first, bold=True))
        for label, cell in zip(header[1:] or [first], others, strict=True):
            between = "\n" if "\n" in cell else " "
            text = clean(f"{label}:{between}{cell}").replace("\n", "\n  ")
            for line in _folded(text, width - len(indent)):
                echo(indent + line)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    # rich itself drops colours for NO_COLOR, but keeps bold and underlined text.
    color_system: Any = "auto" if _has_colors() else None
    console = Console(stderr=stderr, highlight=False, color_system=color_system)
    if not console.is_terminal:
        console.width = 1_000_000
    return console


class Progress:
    """A status line on stderr that says what a command is doing, and goes away when it is done.

    Args:
        text: What it begins with.
        lines: Whether to print a line for each `update` where there is no terminal.
    """

    def __init__(self, text: str, *, lines: bool = False) -> None:
        self._text, self._lines = text, lines
        self._status: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._status = _console(stderr=True).status(f"{self._text} …")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def update(self, text: str) -> None:
        """Say what is being done now."""
        if self._status is not None:
            self._status.update(f"{clean(text)} …")
        elif self._lines:
            echo(clean(text), err=True)

    def done(self, line: str) -> None:
        """Print a line that stays."""
        echo(line, err=True)


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send what Python, or anything below it, writes to stdout to stderr while the block runs.

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


def warn_of_environment() -> None:
    """Print a warning for each ``DATAFLOW_…`` variable whose name is misspelt."""
    from dataflow_runtime.config import config_manager

    for warning in config_manager.environment_warnings():
        print_error(warning, label="warning")


def announced_home() -> Settings:
    """Return the settings; name a home folder that is made, and misspelt variables, on stderr."""
    from dataflow_runtime.settings import get_settings

    warn_of_environment()
    settings = get_settings()
    if settings.make_home():
        echo(clean(f"made {settings.home}: state is kept there (DATAFLOW_HOME)"), err=True)
    return settings
