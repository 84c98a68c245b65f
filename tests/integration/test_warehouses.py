"""What a run leaves in either warehouse: a real DuckDB file, a real PostgreSQL server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest

from dataflow_runtime.runner import open_instance

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
    return lambda *rows: (tmp_path / "orders.csv").write_text(HEADER + "".join(f"{row}\n" for row in rows))


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
        assert query("select row_key, checks from orders_raw.orders_rejected") == [("1\\u0000x", "nul_byte")]
    else:
        assert query("select id from orders_raw.orders order by 1") == [("1\0x",), ("2",)]
