"""The inputs of a configuration, and the tree of values with their positions."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from dataflow_runtime.config.problems import ConfigError, ConfigProblem, snippet

MAX_BYTES = 1_000_000
_DEFAULTS = "dataflow.yaml"

Layer = Literal["default", "fleet", "file", "overlay", "environment", "set"]


@dataclass(frozen=True)
class Source:
    """One input of a configuration: a file, an environment variable or an override.

    Attributes:
        layer: The layer that it belongs to.
        text: Its content.
        file: The file, None for other inputs.
        variable: Name of the environment variable, or the dotted key of the override.
    """

    layer: Layer
    text: str = ""
    file: Path | None = None
    variable: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether values may hold ``${VAR}``: only those of files are interpolated."""
        return self.layer in ("fleet", "file", "overlay")

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text."""
        return self.text.split("\n")


@dataclass(slots=True, eq=False)
class Node:
    """A value and its place.

    Attributes:
        value: Text of a scalar, items of a list, entries of a mapping.
        source: The input that it comes from.
        start: Index of its first character in the text of the source.
        end: Index after its last character.
        line: Line, from 1.
        column: Column, from 1.
        plain: Whether it is an unquoted scalar, whose text decides its type.
        flow: Whether it is a mapping or list in brackets.
        keys: The keys of a mapping.
        size: Number of nodes in it, aliases expanded.
    """

    value: str | list[Node] | dict[str, Node]
    source: Source
    start: int = 0
    end: int = 0
    line: int = 1
    column: int = 1
    plain: bool = False
    flow: bool = False
    keys: dict[str, Node] = field(default_factory=dict)
    size: int = 1

    @property
    def text(self) -> str:
        """The value as it is written in its source."""
        return self.source.text[self.start : self.end]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is written: a section whose keys are all commented out."""
        return self.value == "" and self.plain


def override_variables(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that override values of workflow `name`.

    Sections come before the keys in them, so that the more specific variable wins.
    """
    prefix = f"DATAFLOW__{name.upper()}__"
    found = [variable for variable in environ if variable.startswith(prefix)]
    found.sort(key=lambda variable: (variable.removeprefix(prefix).count("__"), variable))
    return {variable: environ[variable] for variable in found}


def defaults_file() -> Path | None:
    """Return the file of the fleet's defaults: ``DATAFLOW_DEFAULTS``, or the nearest dataflow.yaml.

    The latter is looked for in the working directory and its parents; None where there is none.
    """
    if given := os.environ.get("DATAFLOW_DEFAULTS"):
        return Path(given).expanduser().absolute()
    here = Path.cwd()
    return next(
        (folder / _DEFAULTS for folder in (here, *here.parents) if (folder / _DEFAULTS).is_file()),
        None,
    )


def stamp(path: Path | str) -> tuple[int, int, int] | None:
    """Return what changes when a file or folder does; None for one that does not exist."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_source(file: Path, layer: Layer) -> Source:
    """Read a YAML file.

    Raises:
        ConfigError: It is missing, not a regular file, too large, or not UTF-8.
    """

    def refusal(
        message: str, hint: str | None = None, line: int | None = None, column: int | None = None
    ) -> ConfigError:
        return ConfigError([ConfigProblem("", message, str(file), line, column, hint)])

    try:
        # Not blocking: a named pipe without a writer must not hang the command.
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise refusal("this is not a regular file")
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        hint = "create it, with `source: {type: mock}` at least; see docs/reference/config.md"
        raise refusal("the file does not exist", hint) from None
    except OSError as error:
        raise refusal(f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        hint = "a configuration holds settings; keep data in files of its own"
        raise refusal(f"larger than {MAX_BYTES:,} bytes", hint)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise refusal("expected UTF-8, found UTF-16", "save the file as UTF-8", line=1, column=1)
    try:
        return Source(layer, data.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before.rpartition(b"\n")[2].decode("utf-8-sig", "replace")) + 1
        message = f"expected UTF-8, found byte 0x{data[error.start]:02X}"
        line = before.count(b"\n") + 1
        raise refusal(message, "save the file as UTF-8", line=line, column=column) from None


def problem_at(
    node: Node,
    path: str,
    message: str,
    *,
    hint: str | None = None,
    hidden: Iterable[Node] = (),
    unknown_key: bool = False,
) -> ConfigProblem:
    """Return a problem that points at `node`; the nodes of `hidden` are not shown."""
    source = node.source
    if source.file is None:
        place = source.variable if source.layer == "environment" else "--set"
        return ConfigProblem(path, message, hint=hint, place=place, unknown_key=unknown_key)
    ranges = [(child.start, child.end) for child in hidden if child.source is source]
    return ConfigProblem(
        path,
        message,
        str(source.file),
        node.line,
        node.column,
        hint,
        snippet=snippet(source.lines, node.line, node.column, node.start, ranges),
        width=max(1, len(node.text.partition("\n")[0])),
        unknown_key=unknown_key,
    )


def walk(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Yield path and node of a tree and of everything in it."""
    yield path, node
    children: Iterable[tuple[object, Node]] = ()
    if isinstance(node.value, dict):
        children = node.value.items()
    elif isinstance(node.value, list):
        children = enumerate(node.value)
    for key, child in children:
        yield from walk(child, (*path, str(key)))
