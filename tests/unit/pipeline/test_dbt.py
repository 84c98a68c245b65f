from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline import dbt


def test_artifacts_of_the_newest_runs_are_kept(
    configure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure()
    runs = dbt.artifacts_dir(config, "any").parent
    for number in range(25):
        (runs / f"run-{number}").mkdir(parents=True)
        os.utime(runs / f"run-{number}", (number, number))
    target = runs.parent / "target"
    target.mkdir()
    (target / "run_results.json").write_text("of an earlier run")
    (target / "manifest.json").write_text("parsed")

    def parse_error(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(dbt, "_invoke", parse_error)
    with pytest.raises(RuntimeError):
        dbt.build(config, run_id="newest")
    assert {run.name for run in runs.iterdir()} == {
        "newest",
        *(f"run-{number}" for number in range(6, 25)),
    }
    assert [(file.name, file.read_text()) for file in (runs / "newest").iterdir()] == [
        ("manifest.json", "parsed")
    ]


@pytest.fixture
def project(configure: Any, tmp_path: Path) -> Any:
    """A dbt project of one model and a unit test of it."""
    config = configure()
    folder = config.root / "dbt"
    folder.mkdir()
    (folder / "dbt_project.yml").write_text("name: p\nprofile: p\nmodel-paths: ['.']\n")
    (folder / ".dbtignore").write_text("dbt_project.yml\nprofiles.yml\n")
    (folder / "profiles.yml").write_text(
        "p: {target: duckdb, outputs: {duckdb: {type: duckdb, path: ':memory:'}}}\n"
    )
    (folder / "m.sql").write_text("select 1 as n\n")
    (folder / "schema.yml").write_text(
        "unit_tests:\n- {name: u, model: m, given: [], expect: {rows: [{n: 1}]}}\n"
    )
    return config


def test_a_damaged_manifest_is_made_again(project: Any) -> None:
    manifest = dbt.manifest_path(project)
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[: len(whole) // 2])
    assert dbt.manifest_path(project) == manifest
    assert list(json.loads(manifest.read_bytes())["nodes"]) == ["model.p.m"]


def test_a_kept_manifest_is_small(project: Any) -> None:
    # dbt's own macros would make it 500 KB; a code location reads one for each workflow.
    assert dbt.manifest_path(project).stat().st_size < 20_000


def test_a_build_after_a_unit_test_was_removed(project: Any) -> None:
    first = dbt.build(project, run_id="1")
    assert (first.models, first.tests, first.failed) == (1, 1, [])
    (project.root / "dbt" / "schema.yml").write_text("models: [{name: m}]\n")
    second = dbt.build(project, run_id="2")
    assert (second.models, second.tests, second.failed) == (1, 0, [])


def test_processes_that_parse_at_once_leave_a_whole_manifest(project: Any) -> None:
    # In processes of their own, as commands are.
    code = (
        "import sys; from dataflow_runtime.config.models import WorkflowConfig\n"
        "from dataflow_runtime.pipeline import dbt\n"
        "config = WorkflowConfig.model_validate({'source': {'type': 'mock'}},"
        " context={'workflow': 'things', 'root': __import__('pathlib').Path(sys.argv[1])})\n"
        "print(dbt.manifest_path(config))\n"
    )
    command = [sys.executable, "-c", code, str(project.root)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    [manifest] = found
    assert list(json.loads(Path(manifest).read_bytes())["nodes"]) == ["model.p.m"]


def test_a_model_that_names_an_absent_column_fails_on_no_rows(project: Any, tmp_path: Path) -> None:
    folder = project.root / "dbt"
    (folder / "profiles.yml").write_text(
        "p: {target: duckdb, outputs: {duckdb: {type: duckdb, "
        "path: \"{{ env_var('DATAFLOW_DUCKDB_PATH') }}\"}}}\n"
    )
    (folder / "m.sql").write_text("select id, seen from things_raw.things\n")
    columns = {"id": pl.Int64(), "seen": pl.Datetime("us", "UTC")}
    dbt.build_on_no_rows(project, columns)
    with pytest.raises(DataflowError, match=r'm: .*"seen" not found'):
        dbt.build_on_no_rows(project, {"id": pl.Int64()})
    assert not (tmp_path / "home" / "things.duckdb").exists()


def test_a_test_that_warns_has_passed_and_one_that_fails_has_not(project: Any) -> None:
    column = "- {name: n, data_tests: [accepted_values: {values: [2], config: {severity: %s}}]}"
    for severity, tests, failed in (("warn", 1, []), ("error", 0, ["accepted_values_m_n__2"])):
        (dbt.project_dir(project) / "schema.yml").write_text(
            f"models:\n- name: m\n  columns:\n  {column % severity}\n"
        )
        result = dbt.build(project, run_id=severity)
        assert (result.models, result.tests) == (1, tests)
        assert [failure.name for failure in result.failed] == failed
