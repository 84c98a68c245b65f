"""YAML text to a tree in which every key and value knows its place, within limits that hostile files cannot exceed.

ruamel.yaml's parser yields events (from C where ``ruamel.yaml.clib`` is installed, the same ones without it); the tree
is built here, so that duplicate keys, unknown tags and alias bombs are seen while they are read. Scalars stay text:
they are typed by the YAML 1.2 core schema after interpolation.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dataflow_runtime.config.problems import ConfigError, Problem, snippet

__all__ = ["Layer", "Node", "Source", "parse_yaml", "problem_at", "read_source"]

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_NODES = 20_000

Layer = Literal["default", "file", "overlay", "environment", "set"]


@dataclass(frozen=True, slots=True)
class Source:
    """One input of a configuration: a file's text, or an environment variable or override that stands for one."""

    layer: Layer
    text: str = ""
    file: Path | None = None
    variable: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether values of this source may hold ``${VAR}``: only files are interpolated, once."""
        return self.layer in ("file", "overlay")


@dataclass(slots=True, eq=False)
class Node:
    """A value and where it stands.

    Attributes:
        value: Text of a scalar, items of a list, entries of a mapping.
        source: The input it comes from.
        start: Index of its first character in the source's text.
        end: Index after its last character.
        line: Line, from 1.
        column: Column, from 1.
        plain: An unquoted scalar: its text decides its type.
        flow: A mapping or list in brackets.
        keys: The key nodes of a mapping.
        inherited: Keys that came through a merge key (``<<``).
        alias: Written as ``*alias``; what is below it stands elsewhere.
        size: Nodes below it and itself, aliases expanded.
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
    inherited: frozenset[str] = frozenset()
    alias: bool = False
    size: int = 1

    @property
    def text(self) -> str:
        """The value as written in its source."""
        return self.source.text[self.start : self.end]


def read_source(file: Path, layer: Layer) -> Source:
    """Read a YAML file.

    Raises:
        ConfigError: It is missing, not a regular file, too large, or not UTF-8.
    """

    def refuse(
        message: str, hint: str | None = None, line: int | None = None, column: int | None = None
    ) -> ConfigError:
        return ConfigError(
            [Problem("", message, file=str(file), line=line, column=column, hint=hint)]
        )

    try:
        # Not blocking: a named pipe without a writer must not hang the command.
        with open(
            file,
            "rb",
            opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NONBLOCK", 0)),
        ) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise refuse("expected a file, found something else")
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise refuse("the file does not exist") from None
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise refuse(
            f"larger than {MAX_BYTES:,} bytes",
            "a configuration holds settings; keep data in files of its own",
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise refuse("expected UTF-8, found UTF-16", "save the file as UTF-8", 1, 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = (
            before.count(b"\n") + 1,
            len(before.rsplit(b"\n", 1)[-1].decode("utf-8-sig", "replace")) + 1,
        )
        byte = f"byte 0x{data[error.start]:02X}"
        raise refuse(
            f"expected UTF-8, found {byte}", "save the file as UTF-8", line, column
        ) from None
    return Source(layer, text, file)


def problem_at(node: Node, path: str, message: str, **more: Any) -> Problem:
    """Return a problem that points at `node`; a file's line is shown unless ``snippet`` says otherwise."""
    source = node.source
    if source.file is None:
        place = source.variable if source.layer == "environment" else "--set"
        return Problem(path, message, place=place, **more)
    if "snippet" not in more:
        more["snippet"] = snippet(source.text, node.line, node.column)
    width = node.text.find("\n") if "\n" in node.text else node.end - node.start
    return Problem(
        path,
        message,
        file=str(source.file),
        line=node.line,
        column=node.column,
        **{"width": max(width, 1), **more},
    )


def parse_yaml(source: Source, *, any_value: bool = False) -> Node:
    """Return the tree of a document whose top is a mapping; an empty document is an empty mapping.

    Args:
        source: The text.
        any_value: Whether the top may also be a list or a scalar: for values of overrides.

    Raises:
        ConfigError: Syntax error, duplicate or complex key, unknown tag or alias, several documents, limit exceeded.
    """
    builder = _Builder(source, _events(source.text))
    try:
        root = builder.document()
    except _Unreadable:
        root = None
        if builder.syntax_error:
            # The C parser refuses some YAML 1.2, such as colons in `{a: b:c}`: the Python one has the last word.
            builder = _Builder(source, _events(source.text, pure=True))
            with contextlib.suppress(_Unreadable):
                root = builder.document()
    if root is not None and not any_value and not isinstance(root.value, dict):
        if root.value == "" and root.plain:
            root.value = {}
        else:
            found = "a list" if isinstance(root.value, list) else "text"
            hint = "the top of the file is a mapping: `source:`, `processing:`, `output:`, …"
            builder.refuse(root, f"expected a mapping of sections, found {found}", hint=hint)
    if builder.problems or root is None:
        raise ConfigError(builder.problems)
    return root


class _Unreadable(Exception):  # noqa: N818
    """Nothing after this point can be read."""


class _Builder:
    def __init__(self, source: Source, events: Iterator[Any]) -> None:
        self.source, self.events = source, events
        self.syntax_error = False
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node | None] = {}
        self.nodes = 0

    def refuse(self, at: Node, message: str, path: str = "", **more: Any) -> None:
        self.problems.append(problem_at(at, path, message, **more))

    def stop(self, at: Node, message: str, **more: Any) -> _Unreadable:
        self.refuse(at, message, **more)
        return _Unreadable()

    def next(self) -> Any:
        try:
            return next(self.events)
        except _parser_errors() as error:
            problem, context = getattr(error, "problem", None), getattr(error, "context_mark", None)
            mark = getattr(error, "problem_mark", None) or context
            if mark is not None:
                raise self._syntax(str(problem), mark.line + 1, mark.column + 1, context) from None
            position = getattr(error, "position", 0)  # of a character that YAML does not allow
            line, column = (
                self.source.text.count("\n", 0, position) + 1,
                position - self.source.text.rfind("\n", 0, position),
            )
            raise self._syntax(
                str(getattr(error, "reason", "a directive")), line, column, None
            ) from None

    def _syntax(self, problem: str, line: int, column: int, context: Any) -> _Unreadable:
        self.syntax_error = True
        lines = self.source.text.split("\n")
        # At the end of the file the beginning of what is not closed says more.
        if line >= len(lines) and context is not None:
            line, column = context.line + 1, context.column + 1
        text = lines[line - 1] if line <= len(lines) else ""
        indent = text[: len(text) - len(text.lstrip())]
        message, hint = f"not valid YAML: {problem}", None
        if "\t" in indent:
            column = indent.index("\t") + 1
            message, hint = "not valid YAML: a tab indents the line", "indent with spaces"
        else:
            for words, better, advice in _SYNTAX_ADVICE:
                if words in problem and (words != _FLOW_WORDS or "${" in text):
                    message, hint = f"not valid YAML: {better}", advice
                    break
        return self.stop(Node("", self.source, line=line, column=column), message, hint=hint)

    def node(self, event: Any, value: str | list[Node] | dict[str, Node]) -> Node:
        start, end = event.start_mark, event.end_mark
        return Node(value, self.source, start.index, end.index, start.line + 1, start.column + 1)

    def document(self) -> Node:
        self.next()  # stream start
        event = self.next()
        if type(event).__name__ == "StreamEndEvent":
            return Node("", self.source, plain=True)
        root = self.value(self.next(), 1, "")
        self.next()  # document end
        event = self.next()
        if type(event).__name__ == "DocumentStartEvent":
            raise self.stop(
                self.node(event, ""),
                "expected one document, found a second",
                hint="remove the `---` line",
            )
        return root

    def value(self, event: Any, depth: int, path: str) -> Node:
        self.nodes += 1
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self.aliased(event, path)
        node = self.node(event, "")
        if self.nodes > MAX_NODES:
            raise self.stop(node, f"more than {MAX_NODES:,} values")
        if depth > MAX_DEPTH:
            raise self.stop(node, f"nested more than {MAX_DEPTH} deep")
        tag = event.tag
        if tag is not None and str(tag) != "!" and not _KNOWN_TAG.fullmatch(str(tag)):
            self.refuse(
                node,
                f"unknown tag {str(tag)!r}",
                path,
                hint="values are plain YAML; remove the tag",
            )
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if kind == "ScalarEvent":
            node.value = event.value
            node.plain = not event.style and (
                tag is None or (str(tag) != "!" and not str(tag).endswith(":str"))
            )
        elif kind == "SequenceStartEvent":
            node.flow = bool(event.flow_style)
            self.items(node, depth, path)
        else:
            node.flow = bool(event.flow_style)
            self.entries(node, depth, path)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def aliased(self, event: Any, path: str) -> Node:
        at = self.node(event, "")
        name = event.anchor
        if name not in self.anchors:
            raise self.stop(at, f"alias *{name} has no anchor &{name} above it", path=path)
        target = self.anchors[name]
        if target is None:
            raise self.stop(at, f"alias *{name} contains itself", path=path)
        node = copy.copy(target)
        node.start, node.end, node.line, node.column, node.alias = (
            at.start,
            at.end,
            at.line,
            at.column,
            True,
        )
        return node

    def grow(self, node: Node, child: Node) -> None:
        node.size += child.size
        if node.size > MAX_NODES:
            raise self.stop(child, f"more than {MAX_NODES:,} values once aliases are expanded")
        if not node.flow:
            node.end = max(node.end, child.end)

    def items(self, node: Node, depth: int, path: str) -> None:
        items: list[Node] = []
        while type(event := self.next()).__name__ != "SequenceEndEvent":
            item = self.value(event, depth + 1, f"{path}.{len(items)}" if path else str(len(items)))
            self.grow(node, item)
            items.append(item)
        node.value = items
        if node.flow:
            node.end = event.end_mark.index

    def entries(self, node: Node, depth: int, path: str) -> None:
        entries: dict[str, Node] = {}
        merged: list[Node] = []
        while type(event := self.next()).__name__ != "MappingEndEvent":
            key = self.value(event, depth + 1, path)
            name = key.value
            if not isinstance(name, str) or (key.plain and name in ("", "~", "null")):
                found = "an empty key" if isinstance(name, str) else "a list or mapping"
                self.refuse(key, f"expected text as a key, found {found}", path)
                name = f"?{len(entries)}"
            below = f"{path}.{name}" if path else name
            child = self.value(self.next(), depth + 1, below)
            if child.start == child.end and child.source is self.source and not child.alias:
                self.place_empty(key, child)
            self.grow(node, child)
            if name == "<<" and key.plain:
                merged.append(child)
            elif name in entries:
                first = node.keys[name].line
                shown = snippet(
                    self.source.text,
                    key.line,
                    key.column,
                    hidden=[(child.start, child.end)],
                    instead="…",
                )
                message = f"duplicate key, first on line {first}"
                self.refuse(key, message, below, hint="remove one of the two", snippet=shown)
            else:
                entries[name] = child
                node.keys[name] = key
        node.value = entries
        if node.flow:
            node.end = event.end_mark.index
        for other in merged:
            self.merge_key(node, entries, other, path)

    def merge_key(self, node: Node, entries: dict[str, Node], other: Node, path: str) -> None:
        """Merge key ``<<`` (https://yaml.org/type/merge.html): own keys win, then the earlier mapping."""
        for mapping in other.value if isinstance(other.value, list) else [other]:
            if not isinstance(mapping.value, dict):
                self.refuse(mapping, "expected a mapping after the merge key '<<'", path)
                continue
            for name, child in mapping.value.items():
                if name not in entries:
                    entries[name] = child
                    node.keys[name] = mapping.keys[name]
                    node.inherited |= {name}

    def place_empty(self, key: Node, child: Node) -> None:
        """Put an empty value behind its colon: the two parsers place it differently."""
        colon = self.source.text.find(":", key.end)
        child.start = child.end = colon + 1
        child.line, child.column = key.line, key.column + (colon + 1 - key.start)


_KNOWN_TAG = re.compile(r"tag:yaml\.org,2002:(str|int|float|bool|null|map|seq)")

_FLOW_WORDS = "expected ',' or '}'"

# Words of the parser, what they mean, what to do.
_SYNTAX_ADVICE = (
    (
        "mapping values are not allowed",
        "a second ':' in one value, or wrong indentation",
        "quote text that holds ': '",
    ),
    ("cannot start any token", "this character cannot begin a value", "quote the value"),
    (
        "unexpected end of stream",
        "a quote is not closed",
        "close the quote, or double it inside of the text",
    ),
    ("could not find expected ':'", "a key without ':'", "write `key: value`"),
    (_FLOW_WORDS, "a brace ends the value", 'between brackets, quote a variable: "${VAR}"'),
    ("undefined tag handle", "unknown tag", "values are plain YAML; remove the tag"),
    (
        "special characters",
        "a control character",
        'write it as an escape in double quotes: "\\u0001"',
    ),
)


def _parser_errors() -> tuple[type[Exception], ...]:
    from ruamel.yaml.error import YAMLError

    # The pure Python parser fails with IndexError on some directives.
    return (YAMLError, IndexError, ValueError)


def _events(text: str, *, pure: bool = False) -> Iterator[Any]:
    parser = None
    if not pure:
        with contextlib.suppress(ImportError):
            from _ruamel_yaml import CParser  # type: ignore[import-not-found]

            parser = CParser(text)
    if parser is None:
        from ruamel.yaml import YAML

        _, parser = YAML(typ="safe", pure=True).get_constructor_parser(text)
    while parser.check_event():
        yield parser.get_event()
