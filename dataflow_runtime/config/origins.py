"""What users see of a configuration: values with their origins, secrets masked; and warnings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from dataflow_runtime.config.layers import Layers, variables_of
from dataflow_runtime.config.problems import ConfigProblem, display_path
from dataflow_runtime.config.secrets import MASK, has_literal_secret, is_secret_key, masked_value
from dataflow_runtime.config.tree import Node, problem_at

SecretPaths = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Origin:
    """Where a value comes from: layer, file and line, and the variables that went into it."""

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
        origin = f"{display_path(self.file)}:{self.line}"
        return f"{origin} from {self.variable}" if self.variable else origin


@dataclass(frozen=True)
class ShownConfig:
    """What a workflow runs with: every value, secrets masked, and its origin by dotted key."""

    name: str
    env: str | None
    config: dict[str, Any]
    origins: dict[str, Origin]


def shown_config(
    name: str, env: str | None, config: BaseModel, layers: Layers, secret_paths: SecretPaths
) -> ShownConfig:
    """Return the values of a validated config and where each comes from."""
    secret_variables = set()
    for path, node in layers.scalars():
        for variable in variables_of(node):
            if path in secret_paths or is_secret_key(variable):
                secret_variables.add(variable)
    origins: dict[str, Origin] = {}

    def shown(value: Any, node: Node | None, path: tuple[str, ...]) -> Any:
        if isinstance(value, dict) and value:
            nodes = node.value if node is not None and isinstance(node.value, dict) else {}
            return {key: shown(child, nodes.get(key), (*path, key)) for key, child in value.items()}
        origins[".".join(path)] = _origin(node)
        variables = set(variables_of(node)) if node is not None else set()
        is_secret = path in secret_paths or variables & secret_variables
        if is_secret and value not in (None, "", [], {}):
            return MASK
        return masked_value(value)

    values = config.model_dump(mode="json", by_alias=True)
    return ShownConfig(name, env, shown(values, layers.root, ()), origins)


def _origin(node: Node | None) -> Origin:
    if node is None or node.source.layer == "default":
        return Origin("default")
    source = node.source
    if source.file is None:
        return Origin(source.layer, variable=source.variable)
    variables = ", ".join(variables_of(node))
    return Origin(source.layer, str(source.file), node.line, variables or None)


def config_warnings(layers: Layers, secret_paths: SecretPaths) -> list[ConfigProblem]:
    """Return what is valid but probably a mistake: old keys, secrets in files, ``$VAR``."""
    warnings = list(layers.old_keys)
    for path, node in layers.scalars():
        text, dotted = str(node.value), ".".join(path)
        if not node.source.is_file:
            continue
        unbraced = re.search(r"(?<!\$)\$([A-Za-z_]\w*)", text)
        if path not in secret_paths and unbraced:
            message = f"${unbraced[1]} without braces stays text"
            hint = f"write ${{{unbraced[1]}}} for the variable, $${unbraced[1]} for the text"
            warnings.append(problem_at(node, dotted, message, hint=hint))
        elif path in secret_paths and has_literal_secret(text):
            variable = path[-1].upper().replace("-", "_")
            hint = f"put it into an environment variable and write ${{{variable}}}"
            message = "a secret is written into the file"
            warnings.append(problem_at(node, dotted, message, hint=hint, hidden=[node]))
    return warnings
