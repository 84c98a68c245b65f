"""`dataflow-runtime adopt`: packages written by hand become checkouts that the fleet knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

Git = Callable[..., str]
Commit = Callable[[Path], Path]
Write = Callable[[str, dict[str, str]], Path]

JOB = """\
from dagster import job, op
from dataflow_runtime import register_workflow

@op
def extract_op(): ...

@register_workflow(
    name="NAME",
    metadata={"description": "Orders of the shop", "owner": "shop", "schedule": "5 4 * * 1"},
)
@job
def NAME_job():
    extract_op()
"""
PROJECT = """\
[project]
name = "NAME"
version = "1.0"
description = "Written by hand"
dependencies = ["dataflow-runtime[run]"]

[project.entry-points."dataflow.workflows"]
NAME = "NAME.dagster_job"
"""
CONFIG = """\
source: {type: api, api: {url: "http://127.0.0.1:9/"}}
output: {warehouse: postgres}
schedule: {cron: "0 6 * * *", timezone: Europe/Berlin}
"""
# As the specification lays a workflow out, as setuptools does by default, without a project,
# below a repository's root, and with the line ends of Windows.
PACKAGES = {
    "orders": {
        "pyproject.toml": PROJECT,
        "src/orders/__init__.py": "",
        "src/orders/dagster_job.py": JOB,
        "src/orders/assets.py": "",
        "src/orders/config.yaml": CONFIG,
        "src/orders/dbt/models/stg.sql": "select 1 as id\n",
        "tests/test_ingestion.py": "def test_it(): ...\n",
    },
    "visits": {
        "pyproject.toml": PROJECT + '\n[tool.setuptools]\npackages = ["visits"]\n',
        "visits/__init__.py": "",
        "visits/dagster_job.py": JOB,
        ".gitignore": ".env*\n*.yaml\n",
    },
    "loose-scripts": {"dagster_job.py": JOB, "README.md": "# Ours\n"},
    "platform/flows/returns": {
        "pyproject.toml": PROJECT,
        "src/returns/__init__.py": "",
        "src/returns/dagster_job.py": JOB,
    },
    "invoices": {
        "pyproject.toml": PROJECT.replace("\n", "\r\n"),
        "src/invoices/__init__.py": "",
        "src/invoices/dagster_job.py": JOB.replace("\n", "\r\n"),
        "README.md": "# Invoices\r\n",
    },
}


@pytest.fixture
def write(fleet: Path, commit: Commit) -> Write:
    """Return a function that commits a package of files below the fleet's folder."""

    def run(place: str, files: dict[str, str]) -> Path:
        folder = fleet / place
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text.replace("NAME", folder.name).encode())
        commit(fleet / Path(place).parts[0])
        return folder

    return run


def adopt(site: Any, folder: Path, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    run = site.run("adopt", folder, *arguments, "--json")
    assert run.returncode == code, run.stdout + run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def test_five_packages_written_by_hand_are_known_from_then_on(
    site: Any, own_releases: Path, write: Write, git: Git, commit: Commit, fleet: Path
) -> None:
    git(own_releases, "tag", "v8.0.0")
    found = {}
    for place, files in PACKAGES.items():
        folder = write(place, files)
        before, name = tree(folder), folder.name
        answers = ["--data", "workflow_name=loose"] if name == "loose-scripts" else []
        found[name] = adopt(site, folder, "--template", own_releases, *answers)
        assert tree(folder) == before, "the working tree must stay as it was"
        assert git(folder, "status", "--porcelain") == ""
        git(folder, "merge", "--quiet", "--ff-only", found[name]["branch"])
        after = tree(folder)
        assert {path: after[path] for path in before} == before
        assert sorted(after.keys() - before.keys()) == found[name]["added"]
        assert ".copier-answers.yml" in found[name]["added"]
        assert "config.schema.json" in found[name]["added"]
        assert not any(path.startswith(("src/", "tests/")) for path in found[name]["added"])

    assert found["returns"]["branch"] == "adopt-v8.0.0-returns"
    package = [f"src/invoices/{name}.py" for name in ("__init__", "dagster_job")]
    assert list(found["invoices"]["differs"]) == ["README.md", "pyproject.toml", *package]
    assert '+description = "Written by hand"' in found["invoices"]["differs"]["pyproject.toml"]
    assert "src/orders/transform.py" in found["orders"]["left_out"]
    assert "src/orders/dagster_job.py" in found["orders"]["differs"]

    rows = site.run("outdated", fleet, "--json")
    statuses = {row["workflow"]: row for row in json.loads(rows.stdout)}
    assert rows.returncode == 0, rows.stdout
    assert set(statuses) == {"orders", "visits", "loose", "returns", "invoices"}
    for name, adopted in (("loose", found["loose-scripts"]), ("orders", found["orders"])):
        assert statuses[name]["edited"] == list(adopted["differs"])
        assert statuses[name]["missing"] == adopted["left_out"]

    (own_releases / "template" / ".pre-commit-config.yaml.jinja").write_text("repos: []\n")
    git(commit(own_releases), "tag", "v9.0.0")
    run = site.run("upgrade", fleet, "--json", timeout=300)
    outcomes = {row["workflow"]: row["outcome"] for row in json.loads(run.stdout)}
    assert outcomes == dict.fromkeys(statuses, "ready"), run.stdout


def test_answers_are_guessed_from_the_files_of_the_package(
    site: Any, releases: Path, write: Write
) -> None:
    folder = write("orders", PACKAGES["orders"])
    answers = adopt(site, folder, "--template", releases)["answers"]
    assert {key: answers[key] for key in answers if key != "runtime_source"} == {
        "workflow_name": "orders",
        "description": "Orders of the shop",
        "owner": "shop",
        "schedule": "0 6 * * *",  # what the config says is what runs
        "timezone": "Europe/Berlin",
        "source_type": "api",
        "warehouse": "postgres",
        "assets": True,
    }


def test_given_answers_win_over_guesses_and_a_wrong_one_is_refused(
    site: Any, releases: Path, write: Write, git: Git
) -> None:
    folder = write("orders", PACKAGES["orders"])
    run = site.run("adopt", folder, "--template", releases, "--data", "schedule=often")
    assert run.returncode == 1
    assert "expected a cron expression of 5 fields" in run.stderr
    assert git(folder, "branch", "--list") == "* main"
    found = adopt(site, folder, "--template", releases, "--data", "owner=me", "--branch", "known")
    assert (found["answers"]["owner"], found["branch"]) == ("me", "known")
    text = git(folder, "show", "known:.copier-answers.yml")
    assert YAML(typ="safe").load(text)["_src_path"] == str(releases)


def test_examples_are_added_on_request(site: Any, releases: Path, write: Write, git: Git) -> None:
    folder = write("orders", PACKAGES["orders"])
    found = adopt(site, folder, "--template", releases, "--examples")
    assert found["left_out"] == []
    assert "src/orders/transform.py" in found["added"]
    assert git(folder, "show", f"{found['branch']}:tests/test_ingestion.py") == "def test_it(): ..."


def test_what_cannot_be_adopted_says_why(
    site: Any, releases: Path, write: Write, git: Git, fleet: Path, tmp_path: Path
) -> None:
    folder = write("orders", PACKAGES["orders"])
    run = site.run("adopt", folder, "--template", releases)
    assert run.returncode == 0
    assert "orders  v0.3.0  adopted on branch adopt-v0.3.0" in run.stdout
    assert "  added: .copier-answers.yml\n" in run.stdout
    assert "  kept, differs: pyproject.toml (+" in run.stdout
    again = site.run("adopt", folder, "--template", releases)
    assert (again.returncode, "there is a branch adopt-v0.3.0 already" in again.stderr) == (1, True)
    git(folder, "merge", "--quiet", "adopt-v0.3.0")
    known = site.run("adopt", folder, "--template", releases)
    assert (known.returncode, "known to its template already" in known.stderr) == (1, True)

    (tmp_path / "plain").mkdir()
    no_git = site.run("adopt", tmp_path / "plain", "--template", releases)
    assert (no_git.returncode, "not a git repository" in no_git.stderr) == (1, True)
    no_template = site.run("adopt", folder, "--template", tmp_path / "nothing")
    assert no_template.returncode == 1
    assert "cannot be fetched" in no_template.stderr
