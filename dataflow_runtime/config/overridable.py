"""Which overrides of a run a workflow accepts from clients of the REST API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from dataflow_runtime.config.layers import override_node
from dataflow_runtime.config.models import WorkflowConfig
from dataflow_runtime.config.tree import Node


def refused_overrides(config: WorkflowConfig, overrides: Mapping[str, object]) -> list[str]:
    """Return the dotted keys of `overrides` that ``api.overridable`` of a stored config forbids.

    Each single value counts, also those in mappings and in text that is read as a mapping.
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
