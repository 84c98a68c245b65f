"""The layers of a configuration: read, merged so that the last one wins, and turned into values.

The fleet's ``dataflow.yaml`` → ``config.yaml`` → ``config.<env>.yaml`` →
``DATAFLOW__<WORKFLOW>__<SECTION>__<KEY>`` → overrides (``--set``). Mappings merge key by key; lists
and scalars replace. The defaults of the models come below all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from pydantic import BaseModel

from dataflow_runtime.config.allowed import allowed_keys, is_secret, models_at, types_at
from dataflow_runtime.config.core_schema import typed_scalar
from dataflow_runtime.config.interpolation import InterpolationError, interpolate
from dataflow_runtime.config.old_keys import rename_old_keys
from dataflow_runtime.config.problems import ConfigError, ConfigProblem
from dataflow_runtime.config.tree import (
    Layer,
    Node,
    Source,
    defaults_file,
    override_variables,
    problem_at,
    read_source,
    stamp,
    walk,
)
from dataflow_runtime.config.yaml import parse_yaml
from dataflow_runtime.errors import UsageError

if TYPE_CHECKING:
    from dataflow_runtime.config.models import WorkflowConfig


@dataclass
class Layers:
    """The merged tree of a configuration, before it is validated.

    Attributes:
        model: The model that the configuration is validated with.
        environ: The environment; None where values may not depend on it.
        root: The tree; every node knows its source.
        problems: What kept a layer, or a part of it, from being read.
        old_keys: Warnings about old names of keys; the tree has the new names.
        unreadable: Whether a whole file is missing from the tree.
        unknown: Paths of values that mention variables, where the environment is not read.
    """

    model: type[BaseModel]
    environ: Mapping[str, str] | None
    root: Node = field(default_factory=lambda: Node({}, Source("default")))
    problems: list[ConfigProblem] = field(default_factory=list)
    old_keys: list[ConfigProblem] = field(default_factory=list)
    unreadable: bool = False
    unknown: set[str] = field(default_factory=set)

    def add(self, layer: Node) -> None:
        """Merge a layer on top."""
        layer, warnings, problems = rename_old_keys(layer)
        self.old_keys += warnings
        self.problems += problems
        self.root = self.merged(self.root, layer, ())

    def add_value(self, keys: Sequence[str], node: Node, text: object) -> None:
        """Merge a layer with a single value; `text` is what it was read from."""
        value = typed_scalar(str(node.value)) if node.plain else node.value
        if isinstance(text, str) and self._expects_text(keys, value):
            # A token may consist of digits or brackets.
            node = Node(text, node.source, 0, len(text))
        for key in reversed(keys):
            node = Node({key: node}, node.source, keys={key: Node(key, node.source)})
        self.add(node)

    def merged(self, lower: Node, upper: Node, path: tuple[str, ...]) -> Node:
        """Return the tree in which `upper` wins: mappings merge, lists and scalars replace."""
        below, above = lower.value, upper.value
        if isinstance(below, dict) and upper.is_empty:
            return lower  # a section whose keys are all commented out
        if not isinstance(below, dict) or not isinstance(above, dict):
            return upper
        value, keys = dict(below), dict(lower.keys)
        models = models_at(self.model, path)
        if len(models) > 1 and "type" in above:
            # Another type has other keys: drop those that only the type below has.
            allowed = allowed_keys(models_at(self.model, path, above["type"].value))
            value = {key: child for key, child in value.items() if key in allowed}
        for key, child in above.items():
            known = value.get(key)
            value[key] = child if known is None else self.merged(known, child, (*path, key))
            keys[key] = upper.keys[key]
        place = (upper.start, upper.end, upper.line, upper.column)
        return Node(value, upper.source, *place, keys=keys)

    def spelled(self, keys: Sequence[str]) -> list[str]:
        """Return the keys of an environment variable as the models and the layers below spell them.

        Keys that are the user's own, such as the names of columns, keep their case.
        """
        spelled: list[str] = []
        tree: Node | None = self.root
        for key in keys:
            below = tree.value if tree is not None and isinstance(tree.value, dict) else {}
            known = allowed_keys(models_at(self.model, spelled))
            alike = [name for name in (*below, *known) if name.lower() == key.lower()]
            if alike:
                key = key if key in alike else alike[0]
            elif known:
                key = key.lower()
            spelled.append(key)
            tree = below.get(key)
        return spelled

    def values(self) -> dict[str, Any]:
        """Return the values, interpolated and typed; add missing variables to `problems`."""
        sections = self.root.value if isinstance(self.root.value, dict) else {}
        # A section whose keys are all commented out is empty, not null.
        values = {key: self._value(child, (key,)) for key, child in sections.items()}
        return values | {key: {} for key, child in sections.items() if child.is_empty}

    def _value(self, node: Node, path: tuple[str, ...]) -> Any:
        if isinstance(node.value, dict):
            return {key: self._value(child, (*path, key)) for key, child in node.value.items()}
        if isinstance(node.value, list):
            return [self._value(item, (*path, str(i))) for i, item in enumerate(node.value)]
        text, names = self._interpolated(node, ".".join(path))
        value = typed_scalar(text) if text is not None and node.plain else text
        return text if names and self._expects_text(path, value) else value

    def _expects_text(self, path: Sequence[str], value: object) -> bool:
        """Return whether the model takes text at `path`, but nothing of the type of `value`."""
        types = [get_origin(found) or found for found in types_at(self.model, path)]
        return type(value) not in types and any(t is str or is_secret(t) for t in types)

    def _interpolated(self, node: Node, path: str) -> tuple[str | None, list[str]]:
        """Return the text of a scalar, None and a problem where it has none, and its variables."""
        text, names = str(node.value), []
        if "$" in text and node.source.is_file:
            try:
                result = interpolate(text, self.environ or {})
            except InterpolationError as error:
                hint = "see `${VAR:-default}` in docs/reference/config.md"
                self.problems.append(problem_at(node, path, str(error), hint=hint))
                return None, []
            names = result.variables
            if self.environ is None and result.variables:
                self.unknown.add(path)
                return text, names
            for missing in result.missing:
                message = f"environment variable {missing.name} is not set"
                hint = missing.message or f"set it, or give it a default: ${{{missing.name}:-…}}"
                self.problems.append(problem_at(node, path, message, hint=hint))
            text = result.text
        # An escape or a variable may hold half of a character, which cannot be written.
        if any("\ud800" <= char <= "\udfff" for char in text):
            self.problems.append(problem_at(node, path, "half a character: not valid Unicode"))
            return None, []
        return text, names

    def scalars(self) -> Iterator[tuple[tuple[str, ...], Node]]:
        """Yield path and node of every scalar."""
        for path, node in walk(self.root):
            if isinstance(node.value, str):
                yield path, node


def variables_of(node: Node) -> list[str]:
    """Return the names of the variables in a value, including those in branches not taken."""
    if node.source.layer == "environment":
        return [str(node.source.variable)]
    found: dict[str, None] = {}
    for _, below in walk(node):
        if isinstance(below.value, str) and below.source.is_file:
            text = below.value.replace("$$", "")
            found.update(dict.fromkeys(re.findall(r"\$\{([A-Za-z_]\w*)", text)))
    return list(found)


def read_layers(
    name: str,
    config_file: Path,
    model: type[BaseModel],
    environ: Mapping[str, str] | None,
    *,
    env: str | None = None,
    overrides: Mapping[str, object] | None = None,
    texts: Mapping[Path, str] | None = None,
) -> Layers:
    """Read and merge the layers of a workflow; what cannot be read is in the result's `problems`.

    Args:
        name: The workflow.
        config_file: Its ``config.yaml``.
        model: Its model.
        environ: The environment, whose ``DATAFLOW__<NAME>__…`` variables are a layer; None to
            check variables for syntax only.
        env: Name of the overlay, None for none.
        overrides: Dotted key to value; text is read as a YAML value.
        texts: Text that is read in place of a file: a candidate that is not written yet.

    Raises:
        UsageError: `env` is not a name.
    """
    layers, texts = Layers(model, environ), texts or {}
    overlay = overlay_file(config_file, env) if env else None
    files: dict[Layer, Path | None] = {
        "fleet": defaults_file(),
        "file": config_file,
        "overlay": overlay,
    }
    for kind, file in files.items():
        if file is None or (file == overlay and file not in texts and not file.exists()):
            continue
        try:
            if file in texts:
                layers.add(parse_yaml(Source(kind, texts[file], file)))
            else:
                layers.add(_parsed_file(file, kind, stamp(file)))
        except ConfigError as error:
            layers.problems += error.problems
            layers.unreadable = True
    _add_overrides(layers, name, overrides or {})
    return layers


@lru_cache(maxsize=1_000)
def _parsed_file(file: Path, layer: Layer, _stamp: object) -> Node:
    # Parsing takes most of the time of a load, and a run loads one file with several overrides.
    return parse_yaml(read_source(file, layer))


def _add_overrides(layers: Layers, name: str, overrides: Mapping[str, object]) -> None:
    for variable, text in override_variables(name, layers.environ or {}).items():
        source = Source("environment", text, variable=variable)
        keys = variable.removeprefix(f"DATAFLOW__{name.upper()}__").split("__")
        if all(keys):
            layers.add_value(layers.spelled(keys), value_node(text, source), text)
        else:
            message = "expected DATAFLOW__<WORKFLOW>__<SECTION>__<KEY>, found an empty key"
            layers.problems.append(ConfigProblem("", message, place=variable))
    for dotted, value in overrides.items():
        keys = dotted.split(".")
        if all(keys):
            layers.add_value(keys, override_node(dotted, value), value)
        else:
            message = "expected section.key, found an empty key"
            layers.problems.append(ConfigProblem("", message, place=f"--set {dotted}"))


def overlay_file(config_file: Path, env: str) -> Path:
    """Return the path of an overlay, whether it exists or not.

    Raises:
        UsageError: `env` is not made of letters, digits, ``_`` and ``-``.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", env):
        shown = env if len(env) <= 100 else f"{env[:100]}…"
        raise UsageError(f"environment {shown!r}: expected letters, digits, '_' and '-'")
    return config_file.with_name(f"{config_file.stem}.{env}{config_file.suffix}")


def override_node(dotted: str, value: object) -> Node:
    """Return the tree of an override: text is YAML, other values are taken as they are."""
    if isinstance(value, str):
        return value_node(value, Source("set", value, variable=dotted))
    return _python_node(value, Source("set", variable=dotted))


def _python_node(value: object, source: Source) -> Node:
    if isinstance(value, Mapping):
        entries = {str(key): _python_node(child, source) for key, child in value.items()}
        return Node(entries, source, keys={key: Node(key, source) for key in entries})
    if isinstance(value, list | tuple):
        return Node([_python_node(item, source) for item in value], source)
    if value is None or isinstance(value, bool | int | float):
        words = {"Infinity": ".inf", "-Infinity": "-.inf", "NaN": ".nan"}
        text = json.dumps(value)
        return Node(words.get(text, text), source, plain=True)
    return Node(str(value), source)


def value_node(text: str, source: Source) -> Node:
    """Return the tree of a text: YAML if it begins with a bracket or quote, else one scalar."""
    scalar = Node(text, source, 0, len(text), plain=True)
    if text.lstrip()[:1] not in ("[", "{", '"', "'"):
        return scalar
    try:
        return parse_yaml(source, any_value=True)
    except ConfigError:
        # A password may begin with a bracket; where a list is expected, validation says so.
        return scalar


def refused_overrides(config: WorkflowConfig, overrides: Mapping[str, object]) -> list[str]:
    """Return the dotted keys of `overrides` that ``api.overridable`` of a stored config forbids.

    Every single value counts, including those in mappings and in text read as a mapping.
    """
    refused: dict[str, None] = {}
    for dotted, value in overrides.items():
        for key in _keys(override_node(dotted, value), dotted):
            if not any(fnmatchcase(key, pattern) for pattern in config.api.overridable):
                refused[key] = None
    return list(refused)


def _keys(node: Node, path: str) -> Iterator[str]:
    if not isinstance(node.value, dict) or not node.value:
        yield path
        return
    for key, child in node.value.items():
        yield from _keys(child, f"{path}.{key}")
