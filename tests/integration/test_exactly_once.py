"""Rows are loaded once, and none is lost: appends without a cursor, duplicates, rejected rows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from dataflow_runtime.pipeline.sources import scan_source
from dataflow_runtime.pipeline.steps import Pipeline

pytestmark = pytest.mark.e2e

APPEND = {"output.write_disposition": "append"}


def as_it_is(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows


@pytest.fixture
def run_file(stage: Any, warehouse: Any) -> Callable[..., Any]:
    """Extract, transform and load a file in place; `succeed` also ends the run as a whole."""
    runs = iter(range(100))

    def run(file: Path, *, succeed: bool = True, **settings: Any) -> Any:
        pipeline = Pipeline("things", scan_source, as_it_is, {})
        overrides = {
            **warehouse.settings,
            "source.type": "file",
            "source.file.path": str(file),
            **APPEND,
            **settings,
        }
        extracted = pipeline.run_extract(f"file-{next(runs)}", env=None, overrides=overrides)
        assert [found.path for found in extracted.files] == [str(file)]
        loaded = pipeline.run_load(pipeline.run_transform(extracted))
        if succeed:
            pipeline.finish(loaded.run_id)
        return loaded

    stage([], **APPEND)  # installs the workflow
    return run


def ids(warehouse: Any) -> list[Any]:
    return [value for (value,) in warehouse.query("select id from things_raw.things order by id")]


def test_a_file_whose_run_did_not_succeed_is_appended_once(
    warehouse: Any, run_file: Any, tmp_path: Path
) -> None:
    file = tmp_path / "day1.csv"
    file.write_text("id\n1\n2\n")
    run_file(file, succeed=False)
    run_file(file, succeed=False)
    run_file(file)
    assert ids(warehouse) == ["1", "2"]
    run_file(file)
    assert ids(warehouse) == ["1", "1", "2", "2"]


def test_another_file_leaves_the_rows_of_a_run_that_did_not_succeed(
    warehouse: Any, run_file: Any, tmp_path: Path
) -> None:
    first, second = tmp_path / "day1.csv", tmp_path / "day2.csv"
    first.write_text("id\n1\n2\n")
    second.write_text("id\n3\n")
    run_file(first, succeed=False)
    run_file(second)
    assert ids(warehouse) == ["1", "2", "3"]
    run_file(first)
    assert ids(warehouse) == ["1", "2", "3"]


def test_staged_rows_of_a_run_that_did_not_succeed_are_appended_once(
    warehouse: Any, stage: Any
) -> None:
    for rows in ([{"id": "1"}], [{"id": "1"}], [{"id": "2"}]):
        pipeline, run = stage([rows], **APPEND)
        pipeline.run_load(run)
    assert ids(warehouse) == ["1", "2"]


ROWS = [
    {"id": 1, "n": 5, "v": "newest"},
    {"id": 1, "n": None, "v": "without a cursor"},
    {"id": 1, "n": 3, "v": "older"},
    {"id": 2, "n": 7, "v": "first"},
    {"id": 2, "n": 7, "v": "last"},
    {"id": 3, "n": None, "v": "first"},
    {"id": 3, "n": None, "v": "last"},
    {"id": 4, "n": 1, "v": "only"},
]


@pytest.mark.parametrize("batches", [1, 3])
def test_of_a_key_the_newest_row_is_loaded_then_the_last_one(
    warehouse: Any, load: Any, batches: int
) -> None:
    size = -(-len(ROWS) // batches)
    given = [ROWS[start : start + size] for start in range(0, len(ROWS), size)]
    run = load(
        given,
        processing__primary_key="id",
        processing__cursor={"column": "n"},
        processing__columns={"id": "integer", "n": "integer", "v": "string"},
    )
    found = warehouse.query("select id, v from things_raw.things order by id")
    assert found == [(1, "newest"), (2, "last"), (3, "last"), (4, "only")]
    assert (run.extracted, run.loaded, run.duplicates) == (8, 4, 4)


def test_without_a_cursor_the_last_row_of_a_key_is_loaded(warehouse: Any, load: Any) -> None:
    run = load([ROWS], processing__primary_key="id")
    found = warehouse.query("select id, v from things_raw.things order by id")
    assert found == [(1, "older"), (2, "last"), (3, "last"), (4, "only")]
    assert run.duplicates == 4


def test_every_rejected_row_is_kept_and_a_second_run_keeps_each_once(
    warehouse: Any, load: Any
) -> None:
    checks = {"positive": pl.col("n") > 0}
    rows = [{"id": 1, "n": -1}, {"id": 1, "n": -2}, {"id": 2, "n": 2}, {"id": None, "n": 4}] * 2
    for _ in range(2):
        load([rows], checks=checks, processing__primary_key="id")
        found = warehouse.query(
            "select row_key, checks, count(*) from things_raw.things_rejected group by 1, 2"
            " order by 2, 1"
        )
        assert [(checks, count) for _, checks, count in found] == [
            ("positive", 4),
            ("primary_key", 2),
        ]


def test_a_corrected_row_leaves_the_rejected_ones_with_the_load(warehouse: Any, load: Any) -> None:
    checks = {"positive": pl.col("n") > 0}
    settings = {"checks": checks, "processing__primary_key": ["id", "n"]}
    load([[{"id": "a", "n": -1}, {"id": "b", "n": -2}]], **settings)
    warehouse.query(
        'update things_raw.things_rejected set row_key = \'["a", "1"]\''
        " where checks = 'positive' and row_key like '%a%'"
    )
    load([[{"id": "a", "n": 1}]], **settings)
    kept = warehouse.query("select row_key from things_raw.things_rejected")
    assert kept == [('["b", "-2"]',)]


def test_what_dagster_kept_of_old_runs_is_removed(site: Any, load: Any, warehouse: Any) -> None:
    kept = site.home / "staging" / "dagster"
    for run, days in (("old", 8), ("recent", 1)):
        output = kept / run / "things_extract" / "result"
        output.parent.mkdir(parents=True)
        output.touch()
        written = time.time() - days * 86_400
        os.utime(output, (written, written))
    load([pl.DataFrame({"id": [1]})])
    assert [folder.name for folder in kept.iterdir()] == ["recent"]


def test_rows_of_a_run_whose_dbt_failed_are_not_appended_again(site: Any, run: Any) -> None:
    package = site.install("orders")
    model = package / "dbt" / "models" / "fct_orders_daily.sql"
    good = model.read_text()
    appending = {"output.write_disposition": "append"}
    model.write_text(good + "\nwhere no_such_column")
    failed = run("orders", overrides=appending)
    assert (failed.status, failed.error["step"]) == ("failure", "dbt")
    model.write_text(good)
    report = run("orders", overrides=appending)
    assert report.status == "success", report.error
    with duckdb.connect(site.home / "orders.duckdb", read_only=True) as connection:
        [(rows,)] = connection.execute("select count(*) from orders_raw.orders").fetchall()
    assert rows == report.rows["loaded"] > 0
