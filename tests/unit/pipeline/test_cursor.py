from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.cursor import newer_than, since


@pytest.fixture
def incremental(configure: Any) -> Any:
    def make(*, lookback: Any = 0.0, kind: str = "integer", **output: Any) -> Any:
        cursor = {"column": "n", "lookback": lookback}
        processing = {"primary_key": ["id"], "cursor": cursor, "columns": {"id": "string", "n": kind}}
        source = {"type": "file", "file": {"path": "rows.csv"}}
        return configure(source, processing=processing, output=output)

    return make


def load(tmp_path: Path, dtype: str, *values: str) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)
    with duckdb.connect(tmp_path / "home" / "things.duckdb") as connection:
        connection.execute("create schema if not exists things_raw")
        connection.execute(f"create or replace table things_raw.things (id text, n {dtype})")
        for value in values:
            connection.execute("insert into things_raw.things values ('x', ?)", [value])


def test_without_a_warehouse_table_or_row_everything_is_new(incremental: Any, tmp_path: Path) -> None:
    assert since(incremental()) is None
    (tmp_path / "home").mkdir()
    duckdb.connect(tmp_path / "home" / "things.duckdb").close()
    assert since(incremental()) is None
    load(tmp_path, "bigint")
    assert since(incremental()) is None


def test_without_a_cursor_everything_is_new(configure: Any) -> None:
    assert since(configure()) is None


def test_the_newest_loaded_value_less_the_lookback(incremental: Any, tmp_path: Path) -> None:
    load(tmp_path, "bigint", "5", "12", "7")
    assert since(incremental()) == 12
    assert since(incremental(lookback=3)) == 9
    assert since(incremental(write_disposition="replace")) is None


def test_times(incremental: Any, tmp_path: Path) -> None:
    load(tmp_path, "timestamptz", "2024-03-01 12:00:00+02", "2024-02-01 12:00:00+02")
    newest = datetime(2024, 3, 1, 10, tzinfo=UTC)
    assert since(incremental(kind="timestamp")) == newest
    assert since(incremental(kind="timestamp", lookback="1d 6h")) == newest - timedelta(days=1, hours=6)
    load(tmp_path, "timestamp", "2024-03-01 10:00:00")
    assert since(incremental(kind="timestamp")) == newest


def test_a_lookback_of_another_kind(incremental: Any, tmp_path: Path) -> None:
    load(tmp_path, "bigint", "5")
    with pytest.raises(DataflowError, match=r"processing\.cursor\.lookback") as raised:
        since(incremental(lookback="1d"))
    assert "a number for numbers" in str(raised.value.hint)
    load(tmp_path, "timestamptz", "2024-03-01 12:00:00+02")
    with pytest.raises(DataflowError, match=r"processing\.cursor\.lookback"):
        since(incremental(kind="timestamp", lookback=3))


def test_rows_at_the_bound_are_read_again_and_unreadable_ones_too(incremental: Any) -> None:
    frame = pl.DataFrame({"id": list("abcde"), "n": ["9", "10", "x", None, "11"]})
    assert newer_than(frame, incremental(), 10)["id"].to_list() == ["b", "c", "d", "e"]
    assert newer_than(frame, incremental(write_disposition="append"), 10)["id"].to_list() == ["c", "d", "e"]


def test_a_source_without_the_column(incremental: Any) -> None:
    with pytest.raises(DataflowError, match="the source has no column 'n'"):
        newer_than(pl.DataFrame({"id": ["a"]}), incremental(), 10)
