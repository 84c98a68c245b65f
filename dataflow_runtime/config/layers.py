"""The layers of a configuration, the last one wins, and where each effective value comes from.

``config.yaml`` → ``config.<env>.yaml`` → ``DATAFLOW__<WORKFLOW>__<SECTION>__<KEY>`` → overrides (``--set``).
Mappings merge key by key; lists and scalars replace. The models' defaults come below all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dataflow_runtime.config.core_schema import typed_scalar
from dataflow_runtime.config.interpolation import InterpolationError, interpolate
from dataflow_runtime.config.problems import ConfigError, Problem
from dataflow_runtime.config.renamed import with_new_names
from dataflow_runtime.config.yaml import Layer, Node, Source, parse_yaml, problem_at, read_source
from dataflow_runtime.errors import UsageError

__all__ = ["Layered", "environment_variables", "layered", "overlay_file"]

_EMPTY = Source("default")


@dataclass
class Layered:
    """A configuration's merged tree, before it is validated.

    Attributes:
        root: The tree; every node knows its source.
        problems: What kept a layer, or a part of it, from being read.
        deprecated: Old names of keys in it; the tree has the new ones.
        unreadable: Whether a whole file is missing from the tree.
        unknown: Paths of values that mention variables, where variables are not read.
    """

    root: Node
    problems: list[Problem] = field(default_factory=list)
    deprecated: list[Problem] = field(default_factory=list)
    unreadable: bool = False
    unknown: set[str] = field(default_factory=set)

    def add(self, layer: Node) -> None:
        """Merge a layer on top."""
        layer, deprecated, problems = with_new_names(layer)
        self.root = merged(self.root, layer)
        self.deprecated.extend(deprecated)
        self.problems.extend(problems)

    def resolved(self, environ: Mapping[str, str] | None) -> dict[str, Any]:
        """Return the values: scalars interpolated and typed. Adds what is missing to `problems`, all of it at once.

        Without an environment, variables are checked for syntax only: their values are `unknown`.
        """
        seen: dict[Node, Any] = {}

        def value_of(node: Node, path: str) -> Any:
            if isinstance(node.value, dict):
                return {
                    key: value_of(child, f"{path}.{key}" if path else key)
                    for key, child in node.value.items()
                }
            if isinstance(node.value, list):
                return [
                    value_of(child, f"{path}.{index}") for index, child in enumerate(node.value)
                ]
            # An alias makes one node appear in many places.
            if node not in seen or environ is None:
                seen[node] = self._scalar(node, path, environ)
            return seen[node]

        sections = self.root.value if isinstance(self.root.value, dict) else {}
        # A section whose keys are all commented out is empty, not null.
        return {
            key: {} if child.value == "" and child.plain else value_of(child, key)
            for key, child in sections.items()
        }

    def _scalar(self, node: Node, path: str, environ: Mapping[str, str] | None) -> Any:
        text = str(node.value)
        if "$" in text and node.source.is_file:
            try:
                result = interpolate(text, environ or {})
            except InterpolationError as error:
                self.problems.append(
                    problem_at(
                        node, path, str(error), hint="see `${VAR:-default}` in docs/config.md"
                    )
                )
                return None
            if environ is None and result.variables:
                self.unknown.add(path)
                return text
            for missing in result.missing:
                message = f"environment variable {missing.name} is not set"
                hint = missing.message or f"set it, or give it a default: ${{{missing.name}:-…}}"
                self.problems.append(problem_at(node, path, message, hint=hint))
            text = result.text
        return typed_scalar(text) if node.plain else text

    @cached_property
    def scalars(self) -> list[tuple[tuple[str, ...], Node]]:
        """Path and node of every scalar."""
        return list(scalars(self.root))


def scalars(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Yield path and node of every scalar of a tree."""
    if isinstance(node.value, str):
        yield path, node
        return
    items = (
        node.value.items()
        if isinstance(node.value, dict)
        else ((str(i), child) for i, child in enumerate(node.value))
    )
    for key, child in items:
        yield from scalars(child, (*path, key))


def variables_of(node: Node) -> list[str]:
    """Return the names of the variables that a scalar mentions, in branches that are not taken too."""
    if node.source.layer == "environment" and node.source.variable:
        return [node.source.variable]
    if not isinstance(node.value, str) or not node.source.is_file or "${" not in node.value:
        return []
    return re.findall(r"\$\{([A-Za-z_]\w*)", node.value.replace("$$", ""))


def layered(
    name: str,
    config_file: Path,
    env: str | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    texts: Mapping[Path, str] | None = None,
) -> Layered:
    """Read and merge the layers of workflow `name`; what cannot be read is in the result's `problems`.

    Args:
        name: The workflow.
        config_file: Its ``config.yaml``.
        env: Name of the overlay, None for none.
        environ: The environment; ``DATAFLOW__<NAME>__…`` variables of it are a layer.
        overrides: Dotted key (or nested mapping) to value; text is read as a YAML value.
        texts: File to the text that stands for its content: a candidate that is not written yet.

    Raises:
        UsageError: `env` is not a name.
    """
    result = Layered(Node({}, _EMPTY))

    texts = texts or {}
    for file in [config_file, *([overlay_file(config_file, env)] if env else [])]:
        layer: Layer = "file" if file == config_file else "overlay"
        if layer == "overlay" and file not in texts and not file.exists():
            continue
        try:
            source = Source(layer, texts[file], file) if file in texts else read_source(file, layer)
            result.add(parse_yaml(source))
        except ConfigError as error:
            result.problems.extend(error.problems)
            result.unreadable = True
    for variable, value in environment_variables(name, environ).items():
        keys = variable.split("__")[2:]
        source = Source("environment", value, variable=variable)
        if not all(keys):
            message = "expected DATAFLOW__<WORKFLOW>__<SECTION>__<KEY>, found an empty key"
            result.problems.append(Problem("", message, place=variable))
        else:
            result.add(_nested(result.root, keys, value_node(value, source), source))
    for dotted, override in (overrides or {}).items():
        keys = dotted.split(".")
        source = Source("set", override if isinstance(override, str) else "", variable=dotted)
        node = (
            value_node(override, source)
            if isinstance(override, str)
            else python_node(override, source)
        )
        if not all(keys):
            result.problems.append(
                Problem("", "expected section.key, found an empty key", place=f"--set {dotted}")
            )
        else:
            result.add(_nested(None, keys, node, source))
    return result


def overlay_file(config_file: Path, env: str) -> Path:
    """Return where the overlay of an environment stands, whether it exists or not.

    Raises:
        UsageError: `env` is not made of letters, digits, ``_`` and ``-``.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", env):
        raise UsageError(f"environment {env!r}: expected letters, digits, '_' and '-'")
    return config_file.with_name(f"{config_file.stem}.{env}{config_file.suffix}")


def environment_variables(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that override values of workflow `name`: sections before the keys below them."""
    prefix = f"DATAFLOW__{name.upper()}__"
    found = {key: environ[key] for key in environ if key.startswith(prefix)}
    return {key: found[key] for key in sorted(found, key=lambda key: (key.count("__"), key))}


def value_node(text: str, source: Source) -> Node:
    """Return the tree of an override's text: YAML in brackets or quotes, otherwise one scalar, whatever is in it."""
    scalar = Node(text, source, 0, len(text), plain=True)
    if text.lstrip()[:1] not in ("[", "{", '"', "'"):
        return scalar
    try:
        return parse_yaml(source, any_value=True)
    except ConfigError:
        # A password may begin with a bracket; where a list is expected, validation says so.
        return scalar


def python_node(value: object, source: Source) -> Node:
    """Return the tree of a value that Python code or run config gives."""
    match value:
        case Mapping():
            keys = {str(key): Node(str(key), source) for key in value}
            return Node(
                {str(key): python_node(child, source) for key, child in value.items()},
                source,
                keys=keys,
            )
        case list() | tuple():
            return Node([python_node(child, source) for child in value], source)
        case None | bool():
            return Node({None: "null", True: "true", False: "false"}[value], source, plain=True)
        case int() | float():
            text = repr(float(value)) if isinstance(value, float) else str(int(value))
            return Node(
                {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(text, text), source, plain=True
            )
        case _:
            return Node(str(value), source)


def merged(lower: Node, upper: Node) -> Node:
    """Return the tree in which `upper` wins: mappings merge, lists and scalars replace."""
    if isinstance(lower.value, dict) and upper.value == "" and upper.plain:
        return lower  # a section whose keys are all commented out
    if not isinstance(lower.value, dict) or not isinstance(upper.value, dict):
        return upper
    value, keys = dict(lower.value), dict(lower.keys)
    for key, child in upper.value.items():
        value[key] = merged(value[key], child) if key in value else child
        keys[key] = upper.keys[key]
    return Node(value, upper.source, upper.start, upper.end, upper.line, upper.column, keys=keys)


def _nested(root: Node | None, keys: list[str], node: Node, source: Source) -> Node:
    """Return a tree with `node` under `keys`; with `root`, upper-case keys are spelt as they are there."""
    key, rest = keys[0], keys[1:]
    below = root.value if root is not None and isinstance(root.value, dict) else {}
    if source.layer == "environment":
        key = next((known for known in below if known.upper() == key.upper()), key.lower())
    child = _nested(below.get(key), rest, node, source) if rest else node
    return Node({key: child}, source, keys={key: Node(key, source)})
