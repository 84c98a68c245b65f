"""One code location per workflow: a crash takes no other down."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

CRASH = "import os\nos._exit(7)\n"


def test_each_workflow_is_a_location_of_its_own(site: Any, tmp_path: Path) -> None:
    site.install("good", "import_error")
    outcome = site.run("workspace", "--file", "all.yaml")
    assert (outcome.returncode, outcome.stdout) == (0, ""), outcome.stderr
    entries = [
        entry["python_module"]
        for entry in YAML(typ="safe").load(tmp_path / "all.yaml")["load_from"]
    ]
    assert [(entry["location_name"], entry["attribute"]) for entry in entries] == [
        (name, name) for name in ("good", "import_error")
    ]
    assert {entry["executable_path"] for entry in entries} == {sys.executable}
    assert site.run("workspace", "--file", "all.yaml").returncode == 0, (
        "what it wrote it writes again"
    )


def test_a_file_of_somebody_else_is_not_overwritten(site: Any, tmp_path: Path) -> None:
    site.install("good")
    (tmp_path / "workspace.yaml").write_text("load_from: []\n")
    outcome = site.run("workspace")
    assert outcome.returncode == 1
    assert "workspace.yaml was not written by this command" in outcome.stderr
    assert (tmp_path / "workspace.yaml").read_text() == "load_from: []\n"


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("good", "expected NAME=PATH"),
        ("good=/nowhere/python", "No such file or directory"),
        (f"nobody={sys.executable}", "unknown workflow 'nobody'"),
    ],
)
def test_a_python_that_has_not_the_workflow_is_an_error(
    site: Any, python: str, message: str
) -> None:
    site.install("good")
    outcome = site.run("workspace", "--python", python)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.e2e
def test_a_workflow_that_kills_its_process_leaves_the_others_live(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster import AssetKey, DagsterInstance
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget

    site.install("good", "import_error")
    site.write("crashing", {"crashing/job.py": CRASH}, {"crashing": "crashing.job"})
    # A Python of its own: only there the workflow is installed.
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", other], check=True)
    (packages,) = other.glob("lib/*/site-packages")
    (packages / "all.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    )
    assert site.run("workspace", "--python", f"good={other / 'bin' / 'python'}").returncode == 0
    monkeypatch.setenv("PYTHONPATH", str(site.folder))
    with (
        DagsterInstance.local_temp(str(tmp_path)) as instance,
        WorkspaceProcessContext(
            instance, WorkspaceFileTarget([str(tmp_path / "workspace.yaml")])
        ) as process,
    ):
        workspace = process.create_request_context()
        names = {location.name for location in workspace.code_locations}
        assert names == {"good", "import_error"}
        (repository,) = workspace.get_code_location("good").get_repositories().values()
        assert [job.name for job in repository.get_all_jobs()] == ["good_job"]
        (broken,) = workspace.get_code_location("import_error").get_repositories().values()
        (node,) = broken.get_asset_node_snaps()
        assert node.asset_key == AssetKey(["import_error", "broken"])
        assert "workflow 'import_error' (import_error 1.0) is broken" in str(node.description)
        errors = {
            entry.origin.location_name: str(entry.load_error)
            for entry in workspace.get_code_location_entries().values()
            if entry.load_error
        }
    assert set(errors) == {"crashing"}
