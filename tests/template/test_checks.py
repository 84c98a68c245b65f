"""The check of a workflow that is not installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dataflow_runtime.fleet.checks import find_problems

PROJECT = """\
[project]
name = "good"
version = "1.0"
[project.entry-points."dataflow.workflows"]
good = "good.dagster_job"
"""


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A project without ``src/``, whose package can be imported from its folder."""
    folder = tmp_path / "checkout"
    shutil.copytree(root / "tests" / "packages" / "good" / "good", folder / "good")
    (folder / "pyproject.toml").write_text(PROJECT)
    return folder


@pytest.mark.e2e
def test_what_is_checked_is_the_folder_and_not_the_one_with_its_settings(
    checkout: Path, tmp_path: Path
) -> None:
    branch = shutil.copytree(checkout, tmp_path / "branch")
    assert find_problems(branch, scratch=tmp_path / "1", settings=checkout) == []
    module = branch / "good" / "dagster_job.py"
    module.write_text(module.read_text() + "\nimport no_such_module\n")
    (problem,) = find_problems(branch, scratch=tmp_path / "2", settings=checkout)
    assert problem.startswith("import: good/dagster_job.py:")
    assert "No module named 'no_such_module'" in problem
    assert find_problems(checkout, scratch=tmp_path / "3", settings=checkout) == []


@pytest.mark.parametrize(
    "text", ["", "[project", "[project]\nname = 'x'\nversion = '1'\n", "project = 1\n"]
)
def test_a_project_file_that_cannot_be_used_is_a_problem(
    checkout: Path, tmp_path: Path, text: str
) -> None:
    (checkout / "pyproject.toml").write_text(text)
    (problem,) = find_problems(checkout, scratch=tmp_path / "scratch", settings=checkout)
    assert problem.startswith("pyproject.toml cannot be read: ")
