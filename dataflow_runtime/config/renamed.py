"""Keys that go by another name now. The old one is read in every layer, with a warning that says until when.

So that a workflow runs with a newer runtime than its template's, and no update of a template has to run code.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dataflow_runtime.config.problems import Problem
from dataflow_runtime.config.yaml import Node, problem_at

__all__ = ["RENAMED", "DeprecatedKeyWarning", "Renamed", "warn_of", "with_new_names"]


class DeprecatedKeyWarning(DeprecationWarning):
    """A configuration uses the old name of a key."""


@dataclass(frozen=True)
class Renamed:
    """A key that moved within its section.

    Attributes:
        section: Dotted path of the section.
        old: The name until then.
        new: The name since.
        ends: The version of the runtime that does not read the old name any more.
    """

    section: str
    old: str
    new: str
    ends: str


RENAMED = (
    # `retries` is a section, and its number is `max_retries`.
    Renamed("source.api", "retries", "max_retries", ends="0.5.0"),
)


def with_new_names(
    layer: Node, renamed: Iterable[Renamed] = RENAMED
) -> tuple[Node, list[Problem], list[Problem]]:
    """Return one layer's tree with new names for old ones, warnings of the old ones, and problems: both are given."""
    deprecated: list[Problem] = []
    problems: list[Problem] = []
    for key in renamed:
        layer = _renamed(layer, key.section.split("."), key, deprecated, problems)
    return layer, deprecated, problems


def warn_of(deprecated: Iterable[Problem]) -> None:
    """Emit a `DeprecatedKeyWarning` for each."""
    for problem in deprecated:
        text = f"{problem.headline}; {problem.hint}"
        warnings.warn(text, DeprecatedKeyWarning, stacklevel=4)


def _renamed(
    node: Node, section: list[str], key: Renamed, deprecated: list[Problem], problems: list[Problem]
) -> Node:
    if not isinstance(node.value, dict):
        return node
    if section:
        child = node.value.get(section[0])
        below = child and _renamed(child, section[1:], key, deprecated, problems)
        if below is None or below is child:
            return node
        return replace(node, value={**node.value, section[0]: below})
    if key.old not in node.value:
        return node
    place = node.keys.get(key.old, node.value[key.old])
    path, hint = f"{key.section}.{key.old}", f"write {key.new!r}"
    if key.new in node.value:
        message = f"is the old name of {key.new!r}, which is given too"
        problems.append(problem_at(place, path, message, hint=f"remove {key.old!r}"))
        value = {name: child for name, child in node.value.items() if name != key.old}
        return replace(node, value=value)
    message = (
        f"is called {key.new!r} now; the old name is read until version {key.ends} of the runtime"
    )
    deprecated.append(problem_at(place, path, message, hint=hint))
    names = {key.old: key.new}
    return replace(
        node,
        value={names.get(name, name): child for name, child in node.value.items()},
        keys={names.get(name, name): child for name, child in node.keys.items()},
    )
