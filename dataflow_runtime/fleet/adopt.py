"""Makes a workflow that was written by hand known to the template, on a branch of its own.

The branch holds the answers file, without which neither Copier nor ``outdated`` and ``upgrade``
know where a workflow comes from. What the owner has is kept, whatever the template renders.
"""

from __future__ import annotations

import difflib
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.fleet.checkouts import ANSWERS_FILE, advertised, read_checkout, read_yaml
from dataflow_runtime.fleet.git import git
from dataflow_runtime.fleet.template import Template, copier_errors
from dataflow_runtime.fleet.upgrade import Clone

__all__ = ["Adoption", "adopt", "guess_answers"]

# Where the template renders an example to start from; a workflow that exists has its own.
_EXAMPLES = ("src/", "tests/")
_GUESSED = ("owner", "schedule", "timezone", "description")


@dataclass(frozen=True)
class Adoption:
    """What became of each file that the template renders, on the branch.

    Attributes:
        path: The workflow's folder.
        workflow: The workflow's name.
        version: The template's version.
        branch: The branch.
        answers: The answers, given or guessed.
        added: Files that were missing, and are the template's now.
        same: Files that are just as the template renders them.
        differs: Files that are kept, each with the difference from the template to it.
        left_out: Examples that are missing, and stay so.
    """

    path: str
    workflow: str
    version: str
    branch: str
    answers: dict[str, Any]
    added: list[str]
    same: list[str]
    differs: dict[str, str]
    left_out: list[str]


def adopt(
    folder: Path,
    template: Template,
    *,
    answers: Mapping[str, str],
    ask: bool,
    branch: str | None,
    examples: bool,
) -> Adoption:
    """Commit the answers file, and files that are missing, to a new branch of a git repository.

    Args:
        folder: The workflow's folder, with its ``pyproject.toml``.
        template: The template to adopt it to, at its latest version.
        answers: Answers to the template's questions; those that are not given are guessed.
        ask: Ask for the other answers, with the guesses as defaults.
        branch: Name of the branch; None for one with the version in it.
        examples: Add missing files of ``src/`` and ``tests/`` too.

    Raises:
        DataflowError: It is adopted already, not in git, or an answer is not allowed.
    """
    import copier

    if (folder / ANSWERS_FILE).exists():
        raise DataflowError(f"{folder} is known to its template already: it has a {ANSWERS_FILE}")
    guesses = guess_answers(folder)
    with tempfile.TemporaryDirectory(prefix="dataflow-adopt-") as temporary:
        # The template derives the default name from the folder's.
        rendered = Path(temporary, folder.resolve().name)
        copy = partial(copier.run_copy, vcs_ref=template.latest, quiet=True, skip_tasks=True)
        with copier_errors("its answers cannot be rendered"):
            data = dict(answers)
            copy(template.source, rendered, data, user_defaults=guesses, defaults=not ask)
        checkout = read_checkout(rendered)
        if checkout is None:
            raise DataflowError(f"the template {template.source} does not render workflows")
        name = branch or f"adopt-{template.latest}"
        clone = Clone(folder, checkout.workflow, Path(temporary), name)
        if clone.exists:
            hint = "delete it, or name another one with --branch"
            raise DataflowError(f"there is a branch {clone.branch} already: {hint}")
        known = (str(folder), checkout.workflow, template.latest, clone.branch, checkout.answers)
        found = Adoption(*known, added=[], same=[], differs={}, left_out=[])
        for file in sorted(path for path in rendered.rglob("*") if path.is_file()):
            _sort(file, file.relative_to(rendered), clone.project, found, examples)
        git(clone.project, "add", "--force", "--", *found.added)
        clone.commit(f"Adopt {checkout.workflow} to the template at {template.latest}")
        clone.publish()
    return found


def _sort(fresh: Path, name: Path, project: Path, found: Adoption, examples: bool) -> None:
    """Add a rendered file to the project if it is missing, else compare the two."""
    own, shown = project / name, name.as_posix()
    if own.is_file():
        old, new = (file.read_text("utf-8", "replace").splitlines() for file in (fresh, own))
        diff = "\n".join(difflib.unified_diff(old, new, "template", shown, lineterm=""))
        if diff:
            found.differs[shown] = diff
        else:
            found.same.append(shown)
    elif shown.startswith(_EXAMPLES) and not examples:
        found.left_out.append(shown)
    else:
        own.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(fresh, own)
        found.added.append(shown)


def guess_answers(folder: Path) -> dict[str, Any]:
    """Return the answers that a project's files suggest; what they do not say is left to Copier."""
    sources = [path for path in _modules(folder) if not path.is_relative_to(folder / "tests")]
    packages = [path.parent for path in sources if path.name == "dagster_job.py"]
    names = [*advertised(folder), *(package.name for package in packages)]
    guesses: dict[str, Any] = {"workflow_name": names[0]} if names else {}
    guesses |= _project(folder / "pyproject.toml")
    for source in sources:
        # The literal metadata of the registration: no code of the workflow is imported.
        text = source.read_text("utf-8", "replace")
        for key, value in re.findall(r'"(\w+)":\s*"([^"\n]*)"', text):
            if key in _GUESSED and "register_workflow" in text:
                guesses[key] = value
    if packages:
        guesses |= _config(packages[0] / "config.yaml")
        guesses["assets"] = (packages[0] / "assets.py").is_file()
    return guesses


def _modules(folder: Path) -> Iterator[Path]:
    for pattern in ("*.py", "*/*.py", "src/*/*.py"):
        yield from sorted(folder.glob(pattern))


def _project(file: Path) -> dict[str, Any]:
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        found = {"description": project.get("description")}
        found["owner"] = project.get("authors", [{}])[0].get("name")
    except (OSError, ValueError, LookupError, AttributeError):
        return {}
    return {key: value for key, value in found.items() if value}


def _config(file: Path) -> dict[str, Any]:
    try:
        config = read_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    places = {
        "source_type": ("source", "type"),
        "warehouse": ("output", "warehouse"),
        "schedule": ("schedule", "cron"),
        "timezone": ("schedule", "timezone"),
    }
    found = {}
    for answer, (section, key) in places.items():
        value = config[section].get(key) if isinstance(config.get(section), dict) else None
        if isinstance(value, str) and "${" not in value:
            found[answer] = value
    return found
