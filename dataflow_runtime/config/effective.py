"""What a workflow runs with, for people: each value, its origin, secrets masked; and what its author may not want."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataflow_runtime.config.layers import Layered, scalars, variables_of
from dataflow_runtime.config.problems import Problem, display_path, snippet
from dataflow_runtime.config.secrets import MASK, has_literal_secret, is_secret_key, mask
from dataflow_runtime.config.yaml import Node, problem_at

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["EffectiveConfig", "Origin", "config_warnings", "effective_config"]

SecretPaths = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Origin:
    """Where an effective value comes from: layer, file and line, and the variables that went into it."""

    layer: str
    file: str | None = None
    line: int | None = None
    variable: str | None = None

    def __str__(self) -> str:
        if self.layer == "environment":
            return f"{self.variable}"
        if self.layer == "set":
            return "--set"
        if self.file is None:
            return "default"
        return f"{display_path(self.file)}:{self.line}" + (
            f" from {self.variable}" if self.variable else ""
        )


@dataclass(frozen=True)
class EffectiveConfig:
    """What a workflow runs with: every value, secrets masked, and its origin by dotted key."""

    name: str
    env: str | None
    config: dict[str, Any]
    origins: dict[str, Origin]


def effective_config(
    name: str, env: str | None, config: BaseModel, layers: Layered, secret_paths: SecretPaths
) -> EffectiveConfig:
    """Return the values of a validated config and where each comes from; `secret_paths` leads to its secrets."""
    secret_variables = {
        variable
        for path, node in layers.scalars
        for variable in variables_of(node)
        if path in secret_paths or is_secret_key(variable)
    }
    origins: dict[str, Origin] = {}

    def view(value: Any, node: Node | None, path: tuple[str, ...], inherited: Origin) -> Any:
        origin = inherited if node is None else _origin(node)
        if isinstance(value, dict) and value:
            nodes = node.value if node is not None and isinstance(node.value, dict) else {}
            return {
                key: view(child, nodes.get(key), (*path, key), Origin("default"))
                for key, child in value.items()
            }
        if path:
            origins[".".join(path)] = origin
        names = (
            {name for _, child in scalars(node) for name in variables_of(child)}
            if node is not None
            else set()
        )
        if value not in (None, "", [], {}) and (path in secret_paths or names & secret_variables):
            return MASK
        return (
            [mask(item) if isinstance(item, str) else item for item in value]
            if isinstance(value, list)
            else (mask(value) if isinstance(value, str) else value)
        )

    values = config.model_dump(mode="json", by_alias=True)
    return EffectiveConfig(name, env, view(values, layers.root, (), Origin("default")), origins)


def _origin(node: Node) -> Origin:
    source = node.source
    if source.layer in ("environment", "set"):
        return Origin(source.layer, variable=source.variable)
    names = dict.fromkeys(name for _, child in scalars(node) for name in variables_of(child))
    return Origin(source.layer, str(source.file), node.line, ", ".join(names) or None)


def config_warnings(layers: Layered, secret_paths: SecretPaths) -> list[Problem]:
    """Return what a valid configuration does that its author may not want.

    Old names of keys, literal secrets, ``$VAR`` without braces.
    """
    warnings = list(layers.deprecated)
    for path, node in layers.scalars:
        text = str(node.value)
        if not node.source.is_file:
            continue
        if path in secret_paths and has_literal_secret(text):
            shown = snippet(
                node.source.text, node.line, node.column, hidden=[(node.start, node.end)]
            )
            hint = f"put it into an environment variable and write ${{{path[-1].upper().replace('-', '_')}}}"
            message = "a secret is written into the file"
            warnings.append(
                problem_at(node, ".".join(path), message, hint=hint, snippet=shown, width=1)
            )
        elif (
            "$" in text
            and path not in secret_paths
            and (found := re.search(r"(?<!\$)\$([A-Za-z_]\w*)", text))
        ):
            hint = f"write ${{{found[1]}}} for the variable, $${found[1]} for the text"
            warnings.append(
                problem_at(
                    node, ".".join(path), f"${found[1]} without braces stays text", hint=hint
                )
            )
    return warnings
