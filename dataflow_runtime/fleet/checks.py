"""``dataflow-runtime check`` of a workflow that is not installed: seen as if it were, in a process of its own."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflow_runtime.fleet.process import last_line, run

__all__ = ["find_problems"]

_CHECK = "from dataflow_runtime.cli import main; main()"


def find_problems(folder: Path, *, scratch: Path, settings: Path) -> list[str]:
    """Return what ``check`` finds wrong with the workflows of a project folder, a line each.

    Args:
        folder: The project, as it is rendered: ``pyproject.toml`` and ``src/``.
        scratch: An empty folder for what says that the project is installed, and for state.
        settings: The folder whose ``.env`` is read: the variables that the workflow needs are those of its checkout.
    """
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        names = _install(project, scratch)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"pyproject.toml cannot be read: {type(error).__name__}: {error}"]
    source = folder / "src" if (folder / "src").is_dir() else folder
    path = os.pathsep.join(filter(None, [str(scratch), str(source), os.environ.get("PYTHONPATH")]))
    home = scratch / "home"
    variables = {
        "PYTHONPATH": path,
        "DATAFLOW_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
    }
    # -P: the working directory is the checkout, whose packages must not be found before those of `folder`.
    finished = run(
        [sys.executable, "-P", "-c", _CHECK, "check", *names, "--json"], settings, variables
    )
    try:
        results = json.loads(finished.stdout)
    except ValueError:
        return [last_line(finished.stderr) or f"check ended with exit code {finished.returncode}"]
    return [_line(problem, folder) for result in results for problem in result["problems"]]


def _install(project: Mapping[str, Any], site: Path) -> list[str]:
    """Write what an editable install would leave in `site`; return the names of the workflows."""
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    about = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(about, encoding="utf-8")
    groups = project["entry-points"]
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return list(groups["dataflow.workflows"])


def _line(problem: Mapping[str, Any], folder: Path) -> str:
    file = problem["file"]
    if file and Path(file).is_relative_to(folder):
        file = Path(file).relative_to(folder).as_posix()
    where = ":".join(str(part) for part in (file, problem["line"]) if part)
    return f"{problem['kind']}: {where + ': ' if where else ''}{problem['message']}".replace(
        str(folder), ""
    )
