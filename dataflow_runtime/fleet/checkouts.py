"""Finds workflow checkouts: folders that the template rendered, below others or installed as editable."""

from __future__ import annotations

import importlib.metadata
import json
import os
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dataflow_runtime.workflows.discovery import ENTRY_POINT_GROUP

__all__ = ["ANSWERS_FILE", "Checkout", "find_checkouts", "find_editable", "read_answers"]

ANSWERS_FILE = ".copier-answers.yml"
_NEVER_ENTERED = {"node_modules", "site-packages", "__pycache__", "venv"}


@dataclass(frozen=True)
class Checkout:
    """A folder with the source of a workflow, and what its answers file says.

    Attributes:
        path: The folder.
        workflow: The workflow's name.
        source: Where its template is, as Copier recorded it.
        commit: The template's tag or commit that it was last rendered at.
        answers: The answers to the template's questions.
        error: Why the template or the version cannot be told, else None.
    """

    path: Path
    workflow: str
    source: str = ""
    commit: str = ""
    answers: dict[str, Any] | None = None
    error: str | None = None


def find_checkouts(folders: Iterable[Path]) -> list[Checkout]:
    """Return the checkouts in and below some folders, by path. One whose answers cannot be read has its `error`.

    Hidden folders, environments and the inside of checkouts are not searched.
    """
    found = {
        checkout.path: checkout for folder in folders for checkout in _search(folder.resolve())
    }
    return [found[path] for path in sorted(found)]


def find_editable() -> list[Checkout]:
    """Return the checkouts that are installed as editable in this environment, by path."""
    folders = set()
    for distribution in importlib.metadata.distributions():
        folder = _editable_folder(distribution)
        if folder is not None and folder.is_dir():
            folders.add(folder)
    found = map(_read, sorted(folders))
    return [checkout for checkout in found if checkout is not None]


def _editable_folder(distribution: importlib.metadata.Distribution) -> Path | None:
    """Return where the source of an editable workflow package is; None for any other package."""
    try:
        if ENTRY_POINT_GROUP not in (distribution.read_text("entry_points.txt") or ""):
            return None
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        editable = origin["dir_info"]["editable"]
        return Path(url2pathname(urlsplit(origin["url"]).path)).resolve() if editable else None
    except (ValueError, KeyError, TypeError):  # not UTF-8, no JSON, or not of an editable install
        return None


def _search(folder: Path) -> Iterator[Checkout]:
    for place, folders, files in os.walk(folder):
        if ANSWERS_FILE in files or "pyproject.toml" in files:
            checkout = _read(Path(place))
            if checkout is not None:
                yield checkout
                folders.clear()
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _NEVER_ENTERED
        )


def _read(folder: Path) -> Checkout | None:
    """Return the checkout that a folder is; None for one that holds no workflow."""
    advertised = _advertised(folder / "pyproject.toml")
    answers, error = _answers(folder / ANSWERS_FILE)
    name = answers.get("workflow_name")
    if not advertised and name is None:
        return None  # another template's, or none's
    workflow = name if isinstance(name, str) else advertised[0] if advertised else folder.name
    source, commit = answers.get("_src_path"), answers.get("_commit")
    if error is None:
        if not isinstance(source, str) or not source:
            error = f"{ANSWERS_FILE} does not name its template (_src_path)"
        elif not commit:
            error = (
                f"{ANSWERS_FILE} names no version (_commit): its template was a folder without git"
            )
        elif not isinstance(name, str):
            error = f"{ANSWERS_FILE} has no workflow_name"
    given = {key: value for key, value in answers.items() if not key.startswith("_")}
    return Checkout(folder, workflow, str(source or ""), str(commit or ""), given, error)


def _advertised(project: Path) -> list[str]:
    """Return the names of the workflows that a ``pyproject.toml`` advertises; none where it cannot be read."""
    try:
        groups = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["entry-points"]
        return list(groups[ENTRY_POINT_GROUP])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _answers(file: Path) -> tuple[dict[str, Any], str | None]:
    """Return the answers, and why they cannot be used."""
    try:
        return read_answers(file.read_text(encoding="utf-8")), None
    except FileNotFoundError:
        return {}, f"{file.name} is missing: it was not rendered by copier, or the file was removed"
    except (OSError, ValueError) as error:
        return {}, f"{file.name} cannot be read: {error}"


def read_answers(text: str) -> dict[str, Any]:
    """Return the content of an answers file.

    Raises:
        ValueError: It is no YAML, or no mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        answers = YAML(typ="safe").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{getattr(error, 'problem', None) or 'no YAML'}") from None
    if not isinstance(answers, dict):
        raise ValueError("expected a mapping of answers")
    return {str(key): value for key, value in answers.items()}
