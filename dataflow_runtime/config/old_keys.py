"""Old names of keys: read in every layer, with a warning that says until when.

So a workflow runs with a runtime that is newer than its template, and an update of a template does
not have to run code.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

from dataflow_runtime.config.problems import ConfigProblem
from dataflow_runtime.config.tree import Node, problem_at


class DeprecatedKeyWarning(FutureWarning):
    """A configuration uses the old name of a key."""


class OldKey(NamedTuple):
    """A key that has another name now.

    Attributes:
        section: Dotted path of the section.
        old: The old name.
        new: The new name.
        ends: The version of the runtime that does not read the old name any more.
    """

    section: str
    old: str
    new: str
    ends: str


OLD_KEYS = (
    # `retries` is a section, and its number is `max_retries`.
    OldKey("source.api", "retries", "max_retries", ends="0.5.0"),
)


def rename_old_keys(layer: Node) -> tuple[Node, list[ConfigProblem], list[ConfigProblem]]:
    """Return a layer with the new names of its keys, warnings, and problems of both names."""
    deprecated: list[ConfigProblem] = []
    problems: list[ConfigProblem] = []
    for section, old, new, ends in OLD_KEYS:
        if old not in _section(layer, section).keys:
            continue
        layer = copy.deepcopy(layer)  # other loads share the tree of the file
        node = _section(layer, section)
        path, value, place = f"{section}.{old}", node.value.pop(old), node.keys.pop(old)
        if new in node.value:
            message = f"is the old name of {new!r}, which is given too"
            problems.append(problem_at(place, path, message, hint=f"remove {old!r}"))
            continue
        message = f"is called {new!r} now; the old name is read until version {ends} of the runtime"
        deprecated.append(problem_at(place, path, message, hint=f"write {new!r}"))
        node.value[new], node.keys[new] = value, place
    return layer, deprecated, problems


def _section(node: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        below = node.value if isinstance(node.value, dict) else {}
        node = below.get(key) or Node({}, node.source)
    return node


def warn_of(old_keys: Iterable[ConfigProblem]) -> None:
    """Emit a `DeprecatedKeyWarning` for each."""
    for problem in old_keys:
        text = f"{problem.headline}; {problem.hint}"
        warnings.warn(text, DeprecatedKeyWarning, stacklevel=4)
