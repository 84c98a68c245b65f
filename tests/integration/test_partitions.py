"""Partitions, ranges and retries of a workflow whose own code says nothing of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

pytestmark = pytest.mark.e2e

HEADER = "id,ordered_at,status,amount\n"
PARTITIONED = {
    "SCHEDULE__PARTITIONS": "daily",
    "SCHEDULE__PARTITIONS_START": "2024-03-01",
    "PROCESSING__CURSOR__COLUMN": "ordered_at",
}


@pytest.fixture
def orders(site: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The source's file: three orders on each of the first four days of March."""
    folder = site.install("orders")
    for key, value in PARTITIONED.items():
        monkeypatch.setenv(f"DATAFLOW__ORDERS__{key}", value)
    write(folder / "orders.csv", "1")
    return folder / "orders.csv"


def write(file: Path, amount: str) -> None:
    rows = [
        f"d{day}h{hour},2024-03-0{day}T{hour:02}:00:00Z,open,{amount}"
        for day in range(1, 5)
        for hour in (0, 12, 23)
    ]
    file.write_text(HEADER + "\n".join(rows) + "\n")


def days(site: Any) -> list[Any]:
    with duckdb.connect(site.home / "orders.duckdb", read_only=True) as connection:
        return connection.execute(
            "select day(ordered_at), count(*), sum(amount) from orders_raw.orders"
            " group by 1 order by 1"
        ).fetchall()


def test_a_partition_is_a_day_and_running_it_again_loads_it_again(
    site: Any, orders: Path, run: Any
) -> None:
    report = run("orders", partition="2024-03-03")
    assert report.error is None
    assert report.rows == {"extracted": 3, "rejected": 0, "loaded": 3}
    run("orders", partition="2024-03-01")
    write(orders, "10")
    assert run("orders", partition="2024-03-03").rows["loaded"] == 3
    assert days(site) == [(1, 3, 3), (3, 3, 30)]


def test_a_backfill_of_dagster_does_what_the_command_does(
    site: Any, orders: Path, run: Any
) -> None:
    from dataflow_runtime.orchestration.repositories import build_job
    from dataflow_runtime.orchestration.run import open_instance

    run("orders", partition="2024-03-01")
    job = build_job("orders")
    with open_instance() as instance:
        result = job.execute_in_process(partition_key="2024-03-02", instance=instance)
        assert result.success
        tags = instance.get_run_by_id(result.run_id).tags
    assert (tags["dagster/partition"], tags["dataflow/workflow"]) == ("2024-03-02", "orders")
    assert days(site) == [(1, 3, 3), (2, 3, 3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "workflow 'orders' is partitioned: name one"),
        (["--partition", "2023-01-01"], "workflow 'orders' has no partition '2023-01-01'"),
        (
            ["--partition", "2024-03-01", "--from", "2024-03-01"],
            "--partition, --from/--to and --rejected do not go together",
        ),
        (
            ["--from", "2024-03-02", "--to", "2024-03-01"],
            "the window from 2024-03-02 to 2024-03-01 is empty",
        ),
        (["--from", "yesterday"], "from: 'yesterday' is not a time"),
    ],
)
def test_what_cannot_be_run_is_an_error_of_usage(
    site: Any, orders: Path, arguments: list[str], message: str
) -> None:
    environ = {f"DATAFLOW__ORDERS__{key}": value for key, value in PARTITIONED.items()}
    outcome = site.run("run", "orders", *arguments, **environ)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_range_needs_a_cursor_but_no_partitions(
    site: Any, orders: Path, run: Any, monkeypatch: Any
) -> None:
    monkeypatch.delenv("DATAFLOW__ORDERS__SCHEDULE__PARTITIONS")
    report = run("orders", start="2024-03-02", end="2024-03-03T12:00+00:00")
    assert report.rows == {"extracted": 4, "rejected": 0, "loaded": 4}
    assert days(site) == [(2, 3, 3), (3, 1, 1)]
    # A range does not move the cursor back: the next run reads what is newer than the newest row.
    assert run("orders").rows["extracted"] == 6
    monkeypatch.delenv("DATAFLOW__ORDERS__PROCESSING__CURSOR__COLUMN")
    report = run("orders", start="2024-03-02")
    assert report.status == "failure"
    assert report.error["hint"] == "set processing.cursor: {column: …} in config.yaml"


def test_raw_tables_are_partitioned_and_models_are_not(
    site: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataflow_runtime.orchestration.repositories import build_repositories
    from dataflow_runtime.orchestration.run import open_instance

    site.install("shipments")
    for key, value in (PARTITIONED | {"PROCESSING__CURSOR__COLUMN": "sent_at"}).items():
        monkeypatch.setenv(f"DATAFLOW__SHIPMENTS__{key}", value)
    repositories, _ = build_repositories(["shipments"])
    graph = repositories["shipments"].asset_graph
    partitioned = {
        key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).is_partitioned
    }
    assert partitioned == {"shipments/raw/shipments", "shipments/raw/shipments_rejected"}
    report = run("shipments", partition="2024-03-02")
    assert report.error is None
    with open_instance() as instance:
        records = instance.get_records_for_run(
            report.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        ).records
    found = {record.asset_key.to_user_string(): record.partition_key for record in records}
    assert found == {
        "shipments/raw/shipments": "2024-03-02",
        "shipments/raw/shipments_rejected": "2024-03-02",
        "shipments/stg_shipments": None,
    }


FLAKY = """
from pathlib import Path

def failing(rows, folder=Path(__file__).parent):
    tries = folder / "tries"
    with tries.open("a") as file:
        file.write("x")
    if tries.read_text() in ("x", "xx"):
        raise ConnectionError("lost")
    return rows
"""


def attempts(instance: dg.DagsterInstance, run_id: str) -> int:
    records = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY
    ).records
    return len(records)


def test_a_step_is_tried_again_as_the_config_says_and_a_mistake_is_not(
    site: Any, orders: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataflow_runtime.orchestration.run import open_instance

    monkeypatch.delenv("DATAFLOW__ORDERS__SCHEDULE__PARTITIONS")
    monkeypatch.setenv("DATAFLOW__ORDERS__RETRIES__MAX_RETRIES", "2")
    monkeypatch.setenv("DATAFLOW__ORDERS__RETRIES__DELAY", "0.1")
    transform = orders.with_name("transform.py")
    transform.write_text(
        transform.read_text().replace(
            "    return rows.with", "    rows = failing(rows)\n    return rows.with"
        )
        + FLAKY
    )
    report = run("orders")
    assert (report.status, report.error) == ("success", None)
    assert orders.with_name("tries").read_text().startswith("xxx")
    failed = run("orders", overrides={"source.file.path": "nowhere.csv"})
    assert failed.error["message"].startswith("source.file.path: no file matches ")
    with open_instance() as instance:
        assert (attempts(instance, report.run_id), attempts(instance, failed.run_id)) == (2, 0)


def test_a_run_that_was_killed_is_ended_before_the_next(
    site: Any, orders: Path, run: Any, monkeypatch: Any
) -> None:
    from dataflow_runtime.orchestration.run import open_instance

    monkeypatch.delenv("DATAFLOW__ORDERS__SCHEDULE__PARTITIONS")
    assert site.run("run", "orders", ORDERS_KILL="extract").returncode == -9
    with open_instance() as instance:
        (killed,) = instance.get_runs()
        assert killed.status == dg.DagsterRunStatus.STARTED
    run("orders")
    with open_instance() as instance:
        assert instance.get_run_by_id(killed.run_id).status == dg.DagsterRunStatus.FAILURE
