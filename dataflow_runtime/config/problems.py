"""What is wrong with a configuration, and how it is shown: place, key, found and allowed, source line, caret, hint."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataflow_runtime.config.secrets import MASK, mask
from dataflow_runtime.errors import DataflowError, FailureKind

__all__ = [
    "UNKNOWN_KEY",
    "ConfigError",
    "Problem",
    "UnknownKeyError",
    "display_path",
    "render_problem",
    "snippet",
]

UNKNOWN_KEY = "unknown key"

_MAX_SNIPPET = 160


@dataclass(frozen=True)
class Problem:
    """One mistake in one layer of a configuration.

    Attributes:
        path: Dotted key, empty where the whole file is meant.
        message: What was found and what is allowed; never a secret's value.
        file: File it stands in, None for environment variables and overrides.
        line: Line in the file, from 1.
        column: Column in the line, from 1.
        hint: What to do next.
        place: What stands in for the file: the variable's name, or ``--set``.
        snippet: The line of the file, secrets masked.
        width: Characters that the caret underlines.
    """

    path: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None
    place: str | None = None
    snippet: str | None = None
    width: int = 1

    def as_dict(self) -> dict[str, Any]:
        """What ``--json`` prints of it."""
        shown = asdict(self)
        return {key: shown[key] for key in ("path", "message", "file", "line", "column", "hint")}

    @property
    def headline(self) -> str:
        """``file:line:column: key: message``, as far as each is known."""
        where = display_path(self.file) if self.file else self.place
        if self.file and self.line:
            where = f"{where}:{self.line}:{self.column}"
        return ": ".join(part for part in (where, self.path, self.message) if part)


class ConfigError(DataflowError):
    """A configuration cannot be used. Carries every problem of every layer at once.

    Attributes:
        problems: The problems, in the order of files and lines.
    """

    failure_kind = FailureKind.CONFIG

    def __init__(self, problems: Iterable[Problem], *, hint: str | None = None) -> None:
        self.problems: Sequence[Problem] = tuple(problems)
        super().__init__("\n".join(render_problem(problem) for problem in self.problems), hint=hint)


class UnknownKeyError(ConfigError):
    """An override or a command named a key that no model has: wrong usage, not a wrong file."""

    exit_code = 2


def render_problem(problem: Problem, *, color: bool = False) -> str:
    """Return the problem as users see it: headline, source line, caret, hint."""
    bold, red, dim, off = (
        ("\x1b[1m", "\x1b[31m", "\x1b[2m", "\x1b[0m") if color else ("", "", "", "")
    )
    lines = [f"{bold}{problem.headline}{off}"]
    if problem.snippet is not None and problem.line and problem.column:
        margin = f"  {problem.line} | "
        lines.append(f"{dim}{margin}{off}{problem.snippet}")
        caret = "^" * max(1, min(problem.width, len(problem.snippet) - problem.column + 1))
        # A tab before the caret keeps its width in any terminal.
        indent = re.sub(r"[^\t]", " ", problem.snippet[: problem.column - 1]).ljust(
            problem.column - 1
        )
        lines.append(f"{dim}{' ' * (len(margin) - 2)}| {off}{indent}{red}{caret}{off}")
    if problem.hint:
        lines.append(f"  hint: {problem.hint}")
    return "\n".join(lines)


def snippet(
    text: str,
    line: int,
    column: int,
    *,
    hidden: Iterable[tuple[int, int]] = (),
    instead: str = MASK,
) -> str | None:
    """Return line number `line` of `text`, the index ranges of `hidden` replaced; None where it is too long."""
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
        if not start:
            return None
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    if column > _MAX_SNIPPET:
        return None
    shown = text[start:end].rstrip("\r")
    for first, last in sorted(hidden, reverse=True):
        low, high = max(first, start) - start, min(last, end) - start
        if low < high:
            shown = f"{shown[:low]}{instead}{shown[high:]}"
    # A control character could make the terminal hide the line, or worse.
    shown = "".join(char if char.isprintable() or char == "\t" else "�" for char in mask(shown))
    return shown if len(shown) <= _MAX_SNIPPET else shown[: _MAX_SNIPPET - 1] + "…"


def display_path(file: str | os.PathLike[str]) -> str:
    """Return the path as short as it is unambiguous: relative to the working directory if it lies below it."""
    path = Path(file)
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
