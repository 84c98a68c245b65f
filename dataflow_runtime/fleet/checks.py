"""Runs ``dataflow-runtime check`` on a workflow that is not installed, in a process of its own."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflow_runtime.fleet.git import cause, run
from dataflow_runtime.workflows.discovery import ENTRY_POINT_GROUP

__all__ = ["find_problems"]

_CHECK = "from dataflow_runtime.cli import main; main()"


def find_problems(folder: Path, *, scratch: Path, settings: Path) -> list[str]:
    """Return what ``check`` finds wrong with the workflows of a project folder, a line each.

    Args:
        folder: The project, as it is rendered: ``pyproject.toml`` and ``src/``.
        scratch: An empty folder for the metadata of an installed package, and for state.
        settings: The folder whose ``.env`` is read, the checkout.
    """
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        names = _write_metadata(project, scratch)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"pyproject.toml cannot be read: {type(error).__name__}: {error}"]
    source = folder / "src" if (folder / "src").is_dir() else folder
    path = os.pathsep.join(filter(None, [str(scratch), str(source), os.environ.get("PYTHONPATH")]))
    home = scratch / "home"
    variables = {"DATAFLOW_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    # -P: the working directory is the checkout, whose packages would hide those of `folder`.
    command = [sys.executable, "-P", "-c", _CHECK, "check", *names, "--json"]
    finished = run(command, settings, variables | {"PYTHONPATH": path})
    try:
        results = json.loads(finished.stdout)
    except ValueError:
        return [cause(finished.stderr) or f"check ended with exit code {finished.returncode}"]
    return [_line(problem, folder) for result in results for problem in result["problems"]]


def _write_metadata(project: Mapping[str, Any], site: Path) -> list[str]:
    """Write what an editable install leaves behind; return the names of the workflows."""
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    about = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(about, encoding="utf-8")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return list(project["entry-points"][ENTRY_POINT_GROUP])


def _line(problem: Mapping[str, Any], folder: Path) -> str:
    """Return a problem without the folder, so that two folders' problems can be compared."""
    where = ":".join(str(part) for part in (problem["file"], problem["line"]) if part)
    text = ": ".join(filter(None, (problem["kind"], where, problem["message"])))
    return text.replace(f"{folder}{os.sep}", "").replace(str(folder), "")
