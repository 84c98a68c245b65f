"""Dagster's own checks pass: on a rendered workflow alone, and on all workflows together."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import copier
import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


def passes(site: Any, folder: Path, *command: str) -> str:
    outcome = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        env=site.environ | {"DAGSTER_DISABLE_TELEMETRY": "yes"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout + outcome.stderr


def test_a_rendered_workflow_passes_alone_and_with_others(site: Any, tmp_path: Path) -> None:
    # A folder of its own, not the repository's: what is rendered is what stands there now.
    template = tmp_path / "template"
    shutil.copytree(ROOT / "template", template / "template")
    shutil.copyfile(ROOT / "copier.yml", template / "copier.yml")
    (template / "dataflow_runtime").mkdir()
    shutil.copyfile(
        ROOT / "dataflow_runtime" / "__init__.py", template / "dataflow_runtime" / "__init__.py"
    )
    workflow = tmp_path / "rendered"
    copier.run_copy(
        str(template), workflow, data={"workflow_name": "rendered"}, defaults=True, quiet=True
    )
    shutil.copytree(workflow / "src", site.folder, dirs_exist_ok=True)
    site.write("rendered", {}, {"rendered": "rendered.dagster_job"})

    assert "All definitions loaded successfully" in passes(
        site, workflow, "dg", "check", "defs", "--use-active-venv"
    )
    site.install("orders", "shipments")
    assert "All definitions loaded successfully" in passes(
        site, workflow, "dg", "check", "defs", "--use-active-venv"
    )
    validated = passes(
        site, tmp_path, "dagster", "definitions", "validate", "-m", "dataflow_runtime.dagster_repo"
    )
    assert "All code locations passed validation" in validated
    assert "broken" not in validated
