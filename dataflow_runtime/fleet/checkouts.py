"""Finds workflow checkouts: folders that the template rendered, or that advertise a workflow."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflow_runtime.workflows.discovery import ENTRY_POINT_GROUP, find_workflows

__all__ = [
    "ANSWERS_FILE",
    "Checkout",
    "advertised",
    "find_checkouts",
    "find_editable",
    "read_checkout",
    "read_yaml",
]

ANSWERS_FILE = ".copier-answers.yml"
_NEVER_ENTERED = {"node_modules", "site-packages", "__pycache__", "venv"}
_NEEDED = {
    "_src_path": "does not name its template (_src_path)",
    "_commit": "names no version (_commit): its template was a folder without git",
    "workflow_name": "has no workflow_name",
}


@dataclass(frozen=True)
class Checkout:
    """A folder with the source of a workflow, and what its answers file says.

    Attributes:
        path: The folder.
        workflow: The workflow's name.
        source: Where its template is, as Copier recorded it.
        version: The template's tag or commit that it was last rendered at.
        answers: The answers to the template's questions.
        error: Why the template or the version is unknown, else None.
    """

    path: Path
    workflow: str
    source: str = ""
    version: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


def find_checkouts(folders: Iterable[Path]) -> list[Checkout]:
    """Return the checkouts in and below some folders, by path.

    Hidden folders, environments and the inside of checkouts are not searched.
    """
    found = {one.path: one for folder in folders for one in _search(folder.resolve())}
    return [found[path] for path in sorted(found)]


def find_editable() -> list[Checkout]:
    """Return the checkouts that are installed as editable in this environment, by path."""
    projects = set()
    for workflow in find_workflows():
        folders = workflow.file.resolve().parents if workflow.file else ()
        projects |= {folder for folder in folders if (folder / "pyproject.toml").is_file()}
    outside = sorted(project for project in projects if "site-packages" not in project.parts)
    return [found for found in map(read_checkout, outside) if found]


def _search(folder: Path) -> Iterator[Checkout]:
    for place, folders, files in os.walk(folder):
        if ANSWERS_FILE in files or "pyproject.toml" in files:
            checkout = read_checkout(Path(place))
            if checkout is not None:
                yield checkout
                folders.clear()
        entered = {name for name in folders if not name.startswith(".")} - _NEVER_ENTERED
        folders[:] = sorted(entered)


def read_checkout(folder: Path) -> Checkout | None:
    """Return the checkout in a folder; None if it holds no workflow."""
    names = list(advertised(folder))
    answers: dict[str, Any] = {}
    try:
        answers = read_yaml((folder / ANSWERS_FILE).read_text(encoding="utf-8"))
        lacks = [text for key, text in _NEEDED.items() if not answers.get(key)]
        error = f"{ANSWERS_FILE} {lacks[0]}" if lacks else None
    except FileNotFoundError:
        error = f"{ANSWERS_FILE} is missing: `dataflow-runtime adopt` writes it"
    except (OSError, ValueError) as reason:
        error = f"{ANSWERS_FILE} cannot be read: {reason}"
    if "workflow_name" not in answers and not names:
        return None
    name = str(answers.get("workflow_name") or names[0])
    source, version = str(answers.get("_src_path", "")), str(answers.get("_commit", ""))
    given = {key: value for key, value in answers.items() if not key.startswith("_")}
    return Checkout(folder, name, source, version, given, error)


def advertised(folder: Path) -> dict[str, str]:
    """Return the workflows that a project's ``pyproject.toml`` advertises, name to module."""
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        return dict(tomllib.loads(text)["project"]["entry-points"][ENTRY_POINT_GROUP])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def read_yaml(text: str) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        ValueError: It is not YAML, or not a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        answers = YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"line {line}: {error.problem}") from None
    except YAMLError as error:
        raise ValueError(str(error)) from None
    if not isinstance(answers, dict):
        raise ValueError("expected a mapping of answers")
    return {str(key): value for key, value in answers.items()}
