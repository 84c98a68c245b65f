"""Runs as Dagster sees them: assets, re-execution, executors, runs at the same time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

pytestmark = pytest.mark.e2e


def test_a_check_that_rejects_rows_is_a_failed_asset_check(site: Any, run: Any) -> None:
    from dataflow_runtime.orchestration.run import open_instance

    assets = site.install("shipments") / "assets.py"
    assets.write_text(assets.read_text().replace("< 100", "< 0"))
    report = run("shipments", overrides={"processing.max_rejected_ratio": 1})
    assert report.error is None
    with open_instance() as instance:
        (record, *_) = instance.get_records_for_run(
            report.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ).records
    found = record.event_log_entry.dagster_event.asset_check_evaluation_data
    assert (found.check_name, found.passed) == ("weight_below_100", False)
    assert found.metadata["rejected_rows"].value == report.rejected_by["weight_below_100"] > 0


def test_a_run_of_assets_is_the_same_run(site: Any, run: Any) -> None:
    from dataflow_runtime.orchestration.run import open_instance

    site.install("shipments")
    report = run("shipments")
    assert report.error is None
    assert report.rows == {"extracted": 50, "rejected": 5, "loaded": 45}
    assert report.dbt == {"models": 1, "tests": 3, "failed": []}
    assert report.tables == ["shipments_raw.shipments", "shipments_raw.shipments_rejected"]
    assert [(step.name, step.status) for step in report.steps] == [
        (name, "success") for name in ("extract", "transform", "load", "dbt")
    ]
    with open_instance() as instance:
        events = instance.get_records_for_run(
            report.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        ).records
        checks = instance.get_records_for_run(
            report.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ).records
    keys = sorted(record.asset_key.to_user_string() for record in events)
    assert keys == [
        "shipments/raw/shipments",
        "shipments/raw/shipments_rejected",
        "shipments/stg_shipments",
    ]
    evaluated = {}
    for record in checks:
        found = record.event_log_entry.dagster_event.asset_check_evaluation_data
        evaluated[found.check_name] = (found.passed, found.metadata)
    passed, metadata = evaluated["weight_below_100"]
    assert passed
    assert metadata["rejected_rows"].value == 0
    report = run("shipments", overrides={"source.mock.rows": 10, "source.mock.bad_ratio": 0})
    assert report.rows == {"extracted": 10, "rejected": 0, "loaded": 10}


def materialized(report: Any) -> dict[str, Any]:
    """Return the metadata of each asset that a run materialized, by key."""
    from dataflow_runtime.orchestration.run import open_instance

    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    with open_instance() as instance:
        records = instance.get_records_for_run(report.run_id, of_type=kind).records
    found = [record.asset_materialization for record in records]
    return {
        event.asset_key.to_user_string(): {
            key: value.value for key, value in event.metadata.items()
        }
        for event in found
    }


def test_the_ui_shows_counts_of_tables_and_models(site: Any, run: Any) -> None:
    folder = site.install("shipments")
    model = folder / "dbt" / "models" / "stg_shipments.sql"
    model.write_text("{{ config(materialized='table') }}\n" + model.read_text())
    found = materialized(run("shipments"))
    assert found["shipments/raw/shipments"]["rows_loaded"] == 45
    assert found["shipments/raw/shipments"]["rejected_ratio"] == 0.1
    assert found["shipments/raw/shipments_rejected"]["dagster/row_count"] == 5
    assert found["shipments/stg_shipments"]["dagster/row_count"] == 45
    assert [key for key, metadata in found.items() if "dataflow" in metadata] == []


def test_a_workflow_of_ops_shows_its_tables_in_the_lineage(site: Any, run: Any) -> None:
    from dataflow_runtime.orchestration.repositories import build_repositories

    folder = site.install("orders")
    query = folder / "evidence" / "sources" / "orders.sql"
    query.parent.mkdir(parents=True)
    query.write_text("select * from orders_marts.fct_orders_daily")
    found = materialized(run("orders"))
    rows = {key: metadata["dagster/row_count"] for key, metadata in found.items()}
    assert rows == {"orders/raw/orders": 36, "orders/raw/orders_rejected": 4}
    graph = build_repositories(["orders"])[0]["orders"].asset_graph
    keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert keys == {*rows, "orders/dashboard"}
    (above,) = graph.get(dg.AssetKey(["orders", "dashboard"])).parent_keys
    assert above.to_user_string() == "orders/raw/orders"


def test_a_failing_dbt_test_fails_the_assets_run_with_the_same_report(site: Any, run: Any) -> None:
    folder = site.install("shipments")
    (folder / "dbt" / "models" / "stg_shipments.sql").write_text(
        "select 1 as id from {{ source('shipments_raw', 'shipments') }}"
    )
    report = run("shipments")
    assert report.status == "failure"
    assert report.error["step"] == "dbt"
    assert (
        "unique_stg_shipments_id of model stg_shipments: 1 failing rows" in report.error["message"]
    )
    assert [failed["name"] for failed in report.dbt["failed"]] == ["unique_stg_shipments_id"]
    assert report.rows["loaded"] == 45


def test_a_registered_graph_runs(site: Any, run: Any) -> None:
    code = (
        "from dagster import graph, op\nfrom dataflow_runtime import register_workflow\n"
        "@op\ndef work(): ...\n"
        "@register_workflow(name='drawn')\n@graph\ndef a_graph():\n    work()\n"
    )
    site.write(
        "drawn",
        {"drawn/job.py": code, "drawn/config.yaml": "source: { type: mock }\n"},
        {"drawn": "drawn.job"},
    )
    report = run("drawn")
    assert (report.status, report.error) == ("success", None)


def test_an_own_op_that_raises_is_one_line_with_its_place(site: Any, run: Any) -> None:
    code = (
        "from dagster import job, op\nfrom dataflow_runtime import register_workflow\n"
        "@op\ndef work():\n    int('x')\n"
        "@register_workflow(name='raises')\n@job\ndef raises_job():\n    work()\n"
    )
    files = {"raises/job.py": code, "raises/config.yaml": "source: { type: mock }\n"}
    site.write("raises", files, {"raises": "raises.job"})
    report = run("raises")
    assert report.status == "failure"
    place = f"{site.folder / 'raises' / 'job.py'}:5"
    message = f"ValueError: invalid literal for int() with base 10: 'x' ({place})"
    assert report.error == {"step": "work", "message": message, "hint": None}


def test_reexecution_from_failure_loads_what_was_staged(site: Any, run: Any) -> None:
    from dagster._core.definitions.reconstruct import build_reconstructable_job

    from dataflow_runtime.orchestration.run import open_instance

    folder = site.install("orders")
    site.home.mkdir()
    database = str(site.home / "orders.duckdb")
    hold = f"import duckdb; c = duckdb.connect({database!r}); print('held', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        report = run("orders")
    finally:
        holder.communicate("\n")
    assert report.error["step"] == "load"
    assert report.error["message"].startswith(f"warehouse {site.home / 'orders.duckdb'}: ")
    assert (
        report.error["hint"] == "another program has the DuckDB file open; close it and run again"
    )
    (folder / "orders.csv").unlink()  # what is staged is all there is
    recipe = build_reconstructable_job(
        "dataflow_runtime.orchestration.repositories", "build_job", ("orders",)
    )
    with (
        open_instance() as instance,
        dg.execute_job(
            recipe,
            instance,
            reexecution_options=dg.ReexecutionOptions.from_failure(report.run_id, instance),
        ) as result,
    ):
        assert result.success
        assert {event.step_key for event in result.get_step_success_events()} == {
            "orders_load",
            "orders_dbt",
        }
    with duckdb.connect(site.home / "orders.duckdb") as connection:
        assert connection.execute("select count(*) from orders_raw.orders").fetchall() == [(36,)]
        assert connection.execute(
            "select distinct run_id from orders_raw.orders_rejected"
        ).fetchall() == [(report.run_id,)]


def test_two_runs_of_one_workflow_take_turns(site: Any, tmp_path: Path) -> None:
    site.install("orders")
    first = site.start("run", "orders", "--json", ORDERS_WAIT=str(tmp_path))
    while not list(tmp_path.glob("here-*")):
        assert first.poll() is None
        time.sleep(0.05)
    second = site.start("run", "orders", "--json", ORDERS_WAIT=str(tmp_path))
    assert any("waiting for its end" in line for line in second.stderr)
    (tmp_path / "go").touch()
    for process in (first, second):
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stdout + stderr
        assert json.loads(stdout)["rows"]["loaded"] == 36
    with duckdb.connect(site.home / "orders.duckdb") as connection:
        assert connection.execute(
            "select count(*), count(distinct id) from orders_raw.orders"
        ).fetchall() == [(36, 36)]
        assert connection.execute("select count(*) from orders_raw.orders_rejected").fetchall() == [
            (4,)
        ]


def test_different_workflows_run_at_the_same_time(site: Any, tmp_path: Path) -> None:
    site.install("orders", "shipments")
    waiting = site.start("run", "orders", "--json", ORDERS_WAIT=str(tmp_path))
    while not list(tmp_path.glob("here-*")):
        assert waiting.poll() is None
        time.sleep(0.05)
    assert site.json("run", "shipments")["status"] == "success"
    (tmp_path / "go").touch()
    stdout, _ = waiting.communicate(timeout=120)
    assert json.loads(stdout)["status"] == "success"


def test_a_new_home_may_be_opened_by_several_at_once(site: Any) -> None:
    from dataflow_runtime.orchestration.run import open_instance

    def count_runs(_: int) -> int:
        with open_instance() as instance:
            return instance.get_runs_count()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(count_runs, range(4))) == [0] * 4


def test_steps_in_processes_of_their_own(site: Any) -> None:
    site.install("orders")
    outcome = site.run(
        "run",
        "orders",
        "--json",
        "--set",
        "source.file.path=orders_later.csv",
        DATAFLOW_EXECUTOR="multiprocess",
    )
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["rows"] == {"extracted": 50, "rejected": 4, "loaded": 46}
    assert report["dbt"]["models"] == 2
    assert [step["name"] for step in report["steps"]] == ["extract", "transform", "load", "dbt"]


HELD = """
import time
from pathlib import Path

from dagster import job, op
from dataflow_runtime import register_workflow


@op
def hold():
    Path("held").touch()
    while not Path("go").exists():
        time.sleep(0.05)


@register_workflow(name="held")
@job
def held_job():
    hold()
"""
LOCATION = ["-m", "dataflow_runtime.dagster_repo"]


def dagster(site: Any, *arguments: str) -> subprocess.Popen[str]:
    """Start a command of Dagster's own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster", *arguments],
        env=site.environ | {"DAGSTER_HOME": str(site.home / "dagster")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    site.started.append(process)
    return process


def test_the_code_server_ends_runs_that_died_whatever_launched_them(site: Any) -> None:
    from dataflow_runtime.orchestration.run import open_instance

    config = "source: {type: mock}\n"
    site.write("held", {"held/job.py": HELD, "held/config.yaml": config}, {"held": "held.job"})
    with open_instance() as instance:
        execute = ("job", "execute", *LOCATION, "-r", "held", "-j", "held_job")
        process = dagster(site, *execute)
        while not Path("held").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        server = dagster(site, "definitions", "validate", *LOCATION)
        assert server.wait(120) == 0
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.STARTED, "a living run goes on"
        process.kill()
        process.communicate()
        server = dagster(site, "definitions", "validate", *LOCATION)
        assert server.wait(120) == 0
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
        assert run.tags["dataflow/workflow"] == "held"


def test_a_run_that_dagster_launches_waits_for_its_turn(site: Any) -> None:
    config = "source: {type: mock}\n"
    site.write("held", {"held/job.py": HELD, "held/config.yaml": config}, {"held": "held.job"})
    first = site.start("run", "held", "--json")
    while not Path("held").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    Path("held").unlink()
    second = dagster(site, "job", "execute", *LOCATION, "-r", "held", "-j", "held_job")
    assert second.stdout is not None
    assert any("waiting for its end" in line for line in second.stdout)
    assert not Path("held").exists()
    Path("go").touch()
    second.communicate(timeout=120)
    assert (first.wait(120), second.wait(120)) == (0, 0)
