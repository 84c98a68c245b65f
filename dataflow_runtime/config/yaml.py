"""YAML text to a tree in which every key and value knows its place, with limits for hostile files.

ruamel.yaml composes nodes that carry positions; here duplicate keys, tags and aliases are checked.
Scalars stay text: they get their type after interpolation. The parser is the one in pure Python: it
gives the same answer on every machine, and nested text cannot exhaust the stack of a parser in C.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from dataflow_runtime.config.problems import ConfigError, ConfigProblem, snippet

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_NODES = 20_000

Layer = Literal["default", "file", "overlay", "environment", "set"]

_KNOWN_TAG = re.compile(r"tag:yaml\.org,2002:(str|int|float|bool|null|map|seq|timestamp|merge)")
# Each value follows one of these. Counting them is much cheaper than parsing a hostile file.
_SEPARATOR = re.compile(r"[\n,\[{]|[:?-]\s")


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
        return self.layer in ("file", "overlay")

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
        raise refusal("the file does not exist") from None
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


def parse_yaml(source: Source, *, any_value: bool = False) -> Node:
    """Return the tree of a document whose top is a mapping; an empty document is an empty mapping.

    Args:
        source: The text.
        any_value: Whether the top may also be a list or a scalar, as in values of overrides.

    Raises:
        ConfigError: It is not valid YAML, or exceeds a limit; carries every problem.
    """
    if len(_SEPARATOR.findall(source.text)) > 2 * MAX_NODES:
        raise ConfigError([_problem_at_index(source, 0, f"more than {MAX_NODES:,} values")])
    try:
        composed = YAML(typ="safe", pure=True).compose(source.text)
    except MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(source, error)]) from None
    except ReaderError as error:
        hint = 'write it as an escape in double quotes: "\\u0001"'
        message = "not valid YAML: a control character"
        raise ConfigError([_problem_at_index(source, error.position, message, hint)]) from None
    except RecursionError:
        message = f"nested more than {MAX_DEPTH} deep"
        raise ConfigError([_problem_at_index(source, 0, message)]) from None
    except (YAMLError, IndexError, ValueError):
        # ruamel.yaml fails with errors of Python on some directives.
        raise ConfigError([_problem_at_index(source, 0, "not valid YAML")]) from None
    if composed is None:
        root = Node("", source, plain=True)
    else:
        tree = _Tree(source)
        root = tree.node(composed, 1, "")
        if tree.problems:
            raise ConfigError(tree.problems)
    if any_value or isinstance(root.value, dict):
        return root
    if root.is_empty:
        return Node({}, source, root.start, root.end, root.line, root.column)
    found = "a list" if isinstance(root.value, list) else "text"
    hint = "the top of the file is a mapping: `source:`, `processing:`, `output:`, …"
    message = f"expected a mapping of sections, found {found}"
    raise ConfigError([problem_at(root, "", message, hint=hint)])


def _problem_at_index(
    source: Source, index: int, message: str, hint: str | None = None
) -> ConfigProblem:
    line = source.text.count("\n", 0, index) + 1
    column = index - source.text.rfind("\n", 0, index)
    return problem_at(Node("", source, line=line, column=column), "", message, hint=hint)


def _syntax_problem(source: Source, error: MarkedYAMLError) -> ConfigProblem:
    mark, begin = error.problem_mark or error.context_mark, error.context_mark
    # At the end of the file, the beginning of what is not closed says more.
    if begin is not None and mark.index >= len(source.text.rstrip()):
        mark = begin
    line = source.lines[mark.line] if mark.line < len(source.lines) else ""
    index, message, hint = mark.index, str(error.problem), None
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        index += indent.index("\t") - mark.column
        message, hint = "a tab indents the line", "indent with spaces"
    elif error.context is None:
        hint = "quote text that holds special characters"
    elif "${" in line:
        hint = 'between brackets, quote a variable: "${VAR}"'
    else:
        message = f"{error.context}, {message}"
    return _problem_at_index(source, index, f"not valid YAML: {message}", hint)


class _Tree:
    """The conversion of ruamel.yaml's nodes, in which an alias is the node that it names."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[ConfigProblem] = []
        self.converted: dict[int, Node] = {}

    def refuse(self, at: Node, path: str, message: str, **more: Any) -> None:
        self.problems.append(problem_at(at, path, message, **more))

    def stop(self, at: Node, message: str) -> ConfigError:
        """Return the error after which nothing more is read."""
        self.refuse(at, "", message)
        return ConfigError(self.problems)

    def node(self, composed: Any, depth: int, path: str) -> Node:
        if id(composed) in self.converted:
            return self.converted[id(composed)]
        start, end = composed.start_mark, composed.end_mark
        node = Node("", self.source, start.index, end.index, start.line + 1, start.column + 1)
        if depth > MAX_DEPTH:
            raise self.stop(node, f"nested more than {MAX_DEPTH} deep, or an alias in itself")
        tag = str(composed.tag)
        if not _KNOWN_TAG.fullmatch(tag):
            hint = "values are plain YAML; remove the tag"
            self.refuse(node, path, f"unknown tag {tag!r}", hint=hint)
        if isinstance(composed, ScalarNode):
            node.value = composed.value
            explicit = "!" in node.text.removesuffix(composed.value)
            node.plain = not composed.style and not (explicit and tag.endswith(":str"))
        else:
            node.flow = bool(composed.flow_style)
            if not node.flow:
                node.end = node.start  # ruamel.yaml's end is after the comments that follow
            if isinstance(composed, SequenceNode):
                self.items(node, composed, depth, path)
            else:
                self.entries(node, composed, depth, path)
        self.converted[id(composed)] = node
        return node

    def add(self, node: Node, child: Node) -> None:
        node.size += child.size
        if node.size > MAX_NODES:
            raise self.stop(child, f"more than {MAX_NODES:,} values, aliases expanded")
        node.end = max(node.end, child.end)

    def items(self, node: Node, composed: SequenceNode, depth: int, path: str) -> None:
        node.value = items = []
        for number, item in enumerate(composed.value):
            items.append(self.node(item, depth + 1, f"{path}.{number}".lstrip(".")))
            self.add(node, items[-1])

    def entries(self, node: Node, composed: MappingNode, depth: int, path: str) -> None:
        node.value = entries = {}
        merged: list[Node] = []
        for composed_key, composed_value in composed.value:
            key = self.node(composed_key, depth + 1, path)
            below = f"{path}.{key.value}".lstrip(".")
            child = self.node(composed_value, depth + 1, below)
            colon = self.source.text.find(":", key.end)
            if not child.text and colon >= 0:
                # ruamel.yaml's place of an empty value is that of the next token.
                child.start = child.end = colon + 1
                child.line, child.column = key.line, key.column + child.start - key.start
            self.add(node, child)
            if not isinstance(key.value, str) or (key.plain and key.value in ("", "~", "null")):
                found = "an empty key" if isinstance(key.value, str) else "a list or mapping"
                self.refuse(key, path, f"expected text as a key, found {found}")
            elif key.plain and key.value == "<<":
                merged += child.value if isinstance(child.value, list) else [child]
            elif key.value in entries:
                message = f"duplicate key, first on line {node.keys[key.value].line}"
                self.refuse(key, below, message, hint="remove one of the two", hidden=[child])
            else:
                entries[key.value], node.keys[key.value] = child, key
        # Own keys win over those of the merge key `<<`, and its first mapping over the others.
        for mapping in merged:
            if not isinstance(mapping.value, dict):
                self.refuse(mapping, path, "expected a mapping after the merge key '<<'")
                continue
            for name, child in mapping.value.items():
                if name not in entries:
                    entries[name], node.keys[name] = child, mapping.keys[name]
