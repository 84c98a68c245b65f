"""What is wrong with a configuration, and how users see it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflow_runtime.config.secrets import MASK, is_secret_key, mask
from dataflow_runtime.errors import DataflowError, FailureKind

MAX_PROBLEMS = 100

_MAX_SNIPPET = 160
_KEY_AND_VALUE = re.compile(r"""((?:^|[\s{,"'])([\w.-]+)["']?\s*:\s+)(?=[^\s#])([^,}#]+)""")


@dataclass(frozen=True)
class ConfigProblem:
    """One mistake in one layer of a configuration.

    Attributes:
        path: Dotted key; empty for the whole file.
        message: What was found and what is allowed; never the value of a secret.
        file: The file, None for environment variables and overrides.
        line: Line in the file, from 1.
        column: Column in the line, from 1.
        hint: What to do next.
        place: What is shown in place of a file: the name of the variable, or ``--set``.
        snippet: The line of the file, secrets masked.
        width: Characters that the caret underlines.
        unknown_key: Whether no model has the key.
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
    unknown_key: bool = False

    def __post_init__(self) -> None:
        """Replace control characters: keys and values may come from anyone."""
        for name in ("path", "message", "hint", "place", "snippet"):
            text = getattr(self, name)
            if text is not None:
                object.__setattr__(self, name, printable(text))

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        keys = ("path", "message", "file", "line", "column", "hint")
        return {key: getattr(self, key) for key in keys}

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
        problems: The problems in the order of files and lines: the first 100, and one that counts
            the others.
    """

    failure_kind = FailureKind.CONFIG

    def __init__(self, problems: Iterable[ConfigProblem], *, hint: str | None = None) -> None:
        found = list(problems)
        if len(found) > MAX_PROBLEMS:
            rest = ConfigProblem("", f"and {len(found) - MAX_PROBLEMS:,} more problems")
            found = [*found[:MAX_PROBLEMS], rest]
        self.problems: Sequence[ConfigProblem] = tuple(found)
        super().__init__("\n".join(render_problem(problem) for problem in found), hint=hint)


class UnknownKeyError(ConfigError):
    """An override or a command names a key that no model has: wrong usage, not a wrong file."""

    exit_code = 2


def render_problem(problem: ConfigProblem) -> str:
    """Return the problem as users see it: headline, source line, caret, hint."""
    lines = [problem.headline]
    if problem.snippet is not None and problem.line and problem.column:
        margin = f"  {problem.line} | "
        lines.append(f"{margin}{problem.snippet}")
        caret = "^" * max(1, min(problem.width, len(problem.snippet) - problem.column + 1))
        # A tab before the caret keeps its width in any terminal.
        before = problem.snippet[: problem.column - 1].ljust(problem.column - 1)
        indent = re.sub(r"[^\t]", " ", before)
        lines.append(f"{' ' * (len(margin) - 2)}| {indent}{caret}")
    if problem.hint:
        lines.append(f"  hint: {problem.hint}")
    return "\n".join(lines)


def snippet(
    lines: Sequence[str], line: int, column: int, index: int, hidden: Iterable[tuple[int, int]]
) -> str | None:
    """Return a line of a file, secrets masked; None if the column is past the part that is shown.

    Args:
        lines: The lines of the file.
        line: Number of the line, from 1.
        column: Column of what is pointed at, from 1.
        index: Index of that column in the whole text.
        hidden: Ranges of indexes that are not shown.
    """
    if column > _MAX_SNIPPET or line > len(lines):
        return None
    shown, start = lines[line - 1].rstrip("\r"), index - column + 1
    for first, last in sorted(hidden, reverse=True):
        low, high = max(first - start, 0), min(last - start, len(shown))
        if low < high:
            shown = f"{shown[:low]}{MASK}{shown[high:]}"
    shown = mask(_KEY_AND_VALUE.sub(_without_secret, shown))
    return shown if len(shown) <= _MAX_SNIPPET else shown[: _MAX_SNIPPET - 1] + "…"


def _without_secret(found: re.Match[str]) -> str:
    # `${VAR}` names where the secret is; it is not the secret.
    variable = re.fullmatch(r"""["']?\$\{\w+\}?["']?\s*""", found[3])
    return found[0] if variable or not is_secret_key(found[2]) else found[1] + MASK


def printable(text: str) -> str:
    """Return `text` with a replacement for every character that a terminal would not print."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in text)


def display_path(file: str | os.PathLike[str]) -> str:
    """Return the path relative to the working directory if it lies below it."""
    path = Path(file)
    try:
        return printable(str(path.relative_to(Path.cwd())))
    except (ValueError, OSError):
        return printable(str(path))
