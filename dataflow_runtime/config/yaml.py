"""Parse YAML into a tree with the position of every key and value; limits stop hostile files.

ruamel.yaml composes nodes that carry positions; here duplicate keys, tags and aliases are checked.
Scalars stay text: they get their type after interpolation. The parser is the one in pure Python: it
gives the same answer on every machine, and nested text cannot exhaust the stack of a parser in C.
"""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from dataflow_runtime.config.problems import ConfigError, ConfigProblem
from dataflow_runtime.config.tree import Node, Source, problem_at

MAX_DEPTH = 50
MAX_NODES = 20_000

_KNOWN_TAG = re.compile(r"tag:yaml\.org,2002:(str|int|float|bool|null|map|seq|timestamp|merge)")
# Each value follows one of these. Counting them is much cheaper than parsing a hostile file.
_SEPARATOR = re.compile(r"[\n,\[{]|[:?-]\s")


class _Parser(YAML):
    def official_plug_ins(self) -> list[str]:
        """Return no plug-ins: searching the disk for them takes as long as a short file."""
        return []


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
        composed = _Parser(typ="safe", pure=True).compose(source.text)
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
