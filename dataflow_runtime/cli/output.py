"""What the commands share for their output: JSON on stdout and nothing beside it, tables, times."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

__all__ = ["json_option", "print_json", "quiet_stdout", "table"]

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Add ``--json``, which every command that prints data has."""
    return click.option("as_json", "--json", is_flag=True, help="Print JSON, and nothing else on stdout.")(command)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


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


def table(*columns: str, title: str | None = None) -> Any:
    """Return a rich table in the one style of all commands."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(*columns, title=title, box=SIMPLE_HEAD, header_style="bold", title_justify="left", pad_edge=False)


def show(renderable: Any) -> None:
    """Print a rich renderable; wide enough for its content where stdout is not a terminal."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 200, soft_wrap=False).print(renderable)
