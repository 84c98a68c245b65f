from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.load import condition
from dataflow_runtime.pipeline.window import Window, resolve
from dataflow_runtime.pipeline.window import inside as lazily_inside


def inside(rows: pl.DataFrame, config: Any, window: Window) -> pl.DataFrame:
    return lazily_inside(rows.lazy(), config, window).collect()


def since(config: Any) -> Any:
    window = resolve(config)
    return window and window.start


@pytest.fixture
def incremental(configure: Any) -> Any:
    def make(*, lookback: Any = 0.0, kind: str = "integer", **output: Any) -> Any:
        cursor = {"column": "n", "lookback": lookback}
        processing = {
            "primary_key": ["id"],
            "cursor": cursor,
            "columns": {"id": "string", "n": kind},
        }
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


def test_without_a_warehouse_table_or_row_everything_is_new(
    incremental: Any, tmp_path: Path
) -> None:
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
    assert since(incremental(kind="timestamp", lookback="1d 6h")) == newest - timedelta(
        days=1, hours=6
    )
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
    assert inside(frame, incremental(), Window(10))["id"].to_list() == ["b", "c", "d", "e"]
    assert inside(frame, incremental(), Window(10, after=True))["id"].to_list() == ["c", "d", "e"]
    assert inside(frame, incremental(), Window(9, 11))["id"].to_list() == ["a", "b", "c", "d"]


def test_a_source_without_the_column(incremental: Any) -> None:
    with pytest.raises(DataflowError, match="the source has no column 'n'"):
        inside(pl.DataFrame({"id": ["a"]}), incremental(), Window(10))


DAY = Window(datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 2, tzinfo=UTC))


def test_a_range_of_time_begins_with_its_start_and_ends_before_its_end(incremental: Any) -> None:
    texts = [
        "2024-02-29T23:59:59",
        "2024-03-01",
        "2024-03-01T23:59:59.999999",
        "2024-03-02T00:00:00",
        "soon",
    ]
    frame = pl.DataFrame({"id": list("abcde"), "n": texts})
    assert inside(frame, incremental(kind="timestamp"), DAY)["id"].to_list() == ["b", "c", "e"]
    days = pl.DataFrame({"id": list("abc"), "n": ["2024-02-29", "2024-03-01", "2024-03-02"]})
    assert inside(days, incremental(kind="date"), DAY)["id"].to_list() == ["b"]
    seconds = pl.DataFrame({"id": list("abc"), "n": [1709251199, 1709251200, 1709337600]})
    assert inside(seconds, incremental(kind="epoch_s"), DAY)["id"].to_list() == ["b"]


def test_a_range_of_time_needs_a_cursor_of_time(incremental: Any) -> None:
    with pytest.raises(
        DataflowError, match="n holds Int64, and the range is one of time"
    ) as raised:
        inside(pl.DataFrame({"id": ["a"], "n": [1]}), incremental(), DAY)
    assert "timestamp" in str(raised.value.hint)


def test_a_range_needs_a_cursor_and_a_table_that_is_not_replaced(
    configure: Any, incremental: Any
) -> None:
    with pytest.raises(DataflowError, match="which column says when a row belongs"):
        resolve(configure(), DAY)
    with pytest.raises(DataflowError, match="the place of the whole table"):
        resolve(incremental(write_disposition="replace"), DAY)
    assert resolve(incremental(write_disposition="append"), DAY) is DAY


def test_what_an_append_takes_the_place_of(incremental: Any) -> None:
    config = incremental(write_disposition="append")
    assert condition(config, None, 7) == '"n" <= 7'
    assert condition(config, Window(3, after=True), 7) == '"n" > 3 and "n" <= 7'
    assert condition(config, Window(3, after=True), None) == "1 = 0"
    assert condition(config, DAY, None) == (
        "\"n\" >= '2024-03-01 00:00:00+00:00' and \"n\" < '2024-03-02 00:00:00+00:00'"
    )
    assert condition(config, None, "it's") == "\"n\" <= 'it''s'"
