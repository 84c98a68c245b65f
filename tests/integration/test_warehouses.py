"""What a run leaves in either warehouse: a real DuckDB file, a real PostgreSQL server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest

from dataflow_runtime.orchestration.run import open_instance

pytestmark = pytest.mark.e2e

HEADER = "id,ordered_at,status,amount\n"
Query = Callable[[str], list[Any]]


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest, site: Any) -> Iterator[tuple[dict[str, str], Query]]:
    """The overrides that choose a warehouse, and a function that queries it."""
    if request.param == "duckdb":

        def query(statement: str) -> list[Any]:
            with duckdb.connect(site.home / "orders.duckdb", read_only=True) as connection:
                return connection.execute(statement).fetchall()

        yield {}, query
        return
    url = request.getfixturevalue("postgres")
    connection = psycopg2.connect(url)
    connection.autocommit = True
    cursor = connection.cursor()
    for schema in ("orders_raw", "orders_raw_staging", "orders_marts"):
        cursor.execute(f"drop schema if exists {schema} cascade")

    def query(statement: str) -> list[Any]:
        cursor.execute(statement)
        return list(cursor.fetchall())

    yield {"output.warehouse": "postgres", "output.postgres.url": url}, query
    connection.close()


@pytest.fixture
def source(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that writes the orders that the source holds."""
    site.install("orders")
    monkeypatch.setenv("ORDERS_FILE", str(tmp_path / "orders.csv"))
    return lambda *rows: (tmp_path / "orders.csv").write_text(
        HEADER + "".join(f"{row}\n" for row in rows)
    )


def test_a_rejected_row_that_is_corrected_loads_and_leaves_the_rejected_ones(
    warehouse: tuple[dict[str, str], Query], source: Callable[..., None], run: Any
) -> None:
    overrides, query = warehouse
    source("1,2024-01-01,paid,5", "2,2024-01-01,paid,many", "3,2024-01-01,paid,-1")
    report = run("orders", overrides={**overrides, "processing.max_rejected_ratio": 0.9})
    assert report.error is None
    assert report.rejected_by == {"type:amount": 1, "amount_positive": 1}
    assert query("select row_key from orders_raw.orders_rejected order by 1") == [("2",), ("3",)]

    source("1,2024-01-01,paid,5", "2,2024-01-01,paid,7", "3,2024-01-01,paid,-1")
    assert run("orders", overrides=overrides).error is None
    assert query("select id, amount from orders_raw.orders order by 1") == [("1", 5.0), ("2", 7.0)]
    assert query("select row_key from orders_raw.orders_rejected") == [("3",)]


@pytest.mark.parametrize(("disposition", "expected"), [("merge", 2), ("append", 4), ("replace", 2)])
def test_two_runs(
    warehouse: tuple[dict[str, str], Query],
    source: Callable[..., None],
    run: Any,
    disposition: str,
    expected: int,
) -> None:
    overrides, query = warehouse
    source("1,2024-01-01,paid,5", "2,2024-01-01,paid,7")
    for _ in range(2):
        # The project's own test wants ids to be unique, which an append of the same rows breaks.
        run("orders", overrides={**overrides, "output.write_disposition": disposition})
    assert query("select count(*) from orders_raw.orders") == [(expected,)]


def test_a_secret_override_is_not_recorded_with_the_run(
    site: Any, source: Callable[..., None], run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source("1,2024-01-01,paid,5")
    token = "planted-s3cr3t"
    report = run("orders", overrides={"source.api.auth.token": token, "processing.batch_size": 7})
    assert report.error is None
    with open_instance() as instance:
        recorded = instance.get_run_by_id(report.run_id)
    assert recorded is not None
    assert "processing.batch_size" in str(recorded.run_config)
    assert token not in str(recorded.run_config)
    files = (file for file in site.home.rglob("*") if file.is_file())
    assert [file for file in files if token.encode() in file.read_bytes()] == []
    assert not [name for name in os.environ if name.startswith("DATAFLOW__ORDERS__")]


def test_a_text_with_a_nul_byte_is_loaded_or_rejected_never_lost(
    warehouse: tuple[dict[str, str], Query], source: Callable[..., None], run: Any
) -> None:
    overrides, query = warehouse
    source("1\0x,2024-01-01,paid,5", "2,2024-01-01,paid,7")
    assert run("orders", overrides=overrides).error is None
    if overrides:  # PostgreSQL's text type has no such character
        assert query("select row_key, checks from orders_raw.orders_rejected") == [
            ("1\\u0000x", "nul_byte")
        ]
    else:
        assert query("select id from orders_raw.orders order by 1") == [("1\0x",), ("2",)]


def test_a_failing_dbt_test_fails_the_run_and_its_artifacts_are_kept(
    site: Any, warehouse: tuple[dict[str, str], Query], source: Callable[..., None], run: Any
) -> None:
    overrides, query = warehouse
    source("1,2024-01-01,lost,5", "2,2024-01-01,paid,7")
    failed = run("orders", overrides=overrides)
    name = "accepted_values_stg_orders_status__open__paid__shipped"
    assert failed.status == "failure"
    assert (
        failed.error["message"] == f"dbt build failed: {name} of model stg_orders: 1 failing rows"
    )
    source("1,2024-01-01,paid,5", "2,2024-01-01,paid,7")
    good = run("orders", overrides=overrides)
    assert good.error is None
    assert query("select orders from orders_marts.fct_orders_daily") == [(2,)]
    for report, status in ((failed, "fail"), (good, "pass")):
        folder = site.home / "dbt" / "orders" / "runs" / report.run_id
        assert {file.name for file in folder.iterdir()} == {"run_results.json", "manifest.json"}
        results = json.loads((folder / "run_results.json").read_text())["results"]
        assert [result["status"] for result in results if name in result["unique_id"]] == [status]


def test_dbt_itself_with_the_connection_of_the_config(
    site: Any, warehouse: tuple[dict[str, str], Query], source: Callable[..., None], run: Any
) -> None:
    overrides, _ = warehouse
    source("1,2024-01-01,paid,5")
    assert run("orders", overrides=overrides).error is None
    variables = {
        f"DATAFLOW__ORDERS__{key.upper().replace('.', '__')}": value
        for key, value in overrides.items()
    }
    shown = site.run(
        "dbt",
        "orders",
        "--",
        "show",
        "--inline",
        "select amount from {{ ref('stg_orders') }}",
        **variables,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "| 5 |" in " ".join(shown.stdout.split()) or "| 5.0 |" in " ".join(shown.stdout.split())
    assert (
        site.run(
            "dbt", "orders", "--", "run", "--select", "no_such+", "--warn-error", **variables
        ).returncode
        != 0
    )
