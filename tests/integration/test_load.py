"""What a load, repeated or not, leaves in a DuckDB file and on a real PostgreSQL server."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import psycopg2
import pytest

from dataflow_runtime.config import Window
from dataflow_runtime.config.models import WorkflowConfig
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.duplicates import drop_duplicates
from dataflow_runtime.pipeline.load import LOAD_ID, load, needs_load_id
from dataflow_runtime.pipeline.staging import BatchWriter, StagedRun, writing


class Warehouse:
    """A warehouse of its own for one test."""

    def __init__(self, folder: Path, postgres: str | None) -> None:
        self._folder, self._postgres = folder, postgres
        self._loads = 0
        if postgres:
            self.query("drop schema if exists things_raw cascade")
            self.query("drop schema if exists things_raw_staging cascade")

    def config(self, disposition: str, **processing: Any) -> WorkflowConfig:
        output: dict[str, Any] = {"write_disposition": disposition}
        if self._postgres:
            output |= {"warehouse": "postgres", "postgres": {"url": self._postgres}}
        return WorkflowConfig.model_validate(
            {"source": {"type": "mock"}, "processing": processing, "output": output},
            context={"workflow": "things", "root": self._folder},
        )

    def load(self, config: WorkflowConfig, *frames: pl.DataFrame, **manifest: Any) -> StagedRun:
        self._loads += 1
        folder = self._folder / "staging" / str(self._loads)
        given = StagedRun(
            run_id="run",
            staging=str(folder),
            load_id=f"run {self._loads}",
            loaded=pl.concat(frames, how="diagonal_relaxed").height,
        )
        given = replace(given, **manifest)
        with writing(given.folder("rejected")):
            pass
        with writing(given.folder("accepted")) as folder, BatchWriter(folder) as accepted:
            for frame in frames:
                if needs_load_id(config):
                    frame = frame.with_columns(pl.lit(given.load_id).alias(LOAD_ID))
                accepted.write(frame)
        if config.output.write_disposition == "merge":
            cursor = config.processing.cursor
            drop_duplicates(folder, config.processing.primary_key, cursor and cursor.column)
        load(config, given)
        return given

    def query(self, statement: str) -> list[Any]:
        if self._postgres is None:
            with duckdb.connect(self._folder / "home" / "things.duckdb") as connection:
                return connection.execute(statement).fetchall()
        with closing(psycopg2.connect(self._postgres)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def rows(self, columns: str = "id, n") -> list[Any]:
        return self.query(f"select {columns} from things_raw.things order by 1, 2")


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Warehouse:
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path / "home"))
    return Warehouse(
        tmp_path, request.getfixturevalue("postgres") if request.param == "postgres" else None
    )


def rows(*pairs: tuple[str, int]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema={"id": pl.String, "n": pl.Int64}, orient="row")


def test_a_replacement_leaves_views_on_the_table_and_may_have_no_rows(warehouse: Warehouse) -> None:
    config = warehouse.config("replace")
    warehouse.load(config, rows(("a", 1), ("b", 2)))
    warehouse.query("create view things_raw.seen as select * from things_raw.things")
    warehouse.load(config, rows(("c", 3)), rows(("d", 4)))
    assert warehouse.query("select id, n from things_raw.seen order by 1") == [("c", 3), ("d", 4)]
    warehouse.load(config, rows())
    assert warehouse.rows() == []


@pytest.mark.parametrize("batches", [1, 3])
def test_of_one_key_a_load_keeps_one_row_the_newest_by_the_cursor(
    warehouse: Warehouse, batches: int
) -> None:
    config = warehouse.config("merge", primary_key=["id"], cursor={"column": "n"})
    given = rows(("a", 2), ("b", 1), ("a", 9), ("a", 3))
    warehouse.load(config, *(given[i::batches] for i in range(batches)))
    assert warehouse.rows() == [("a", 9), ("b", 1)]
    warehouse.load(config, rows(("b", 5), ("c", 6)))
    assert warehouse.rows() == [("a", 9), ("b", 5), ("c", 6)]


def test_an_append_that_is_tried_again_appends_once(warehouse: Warehouse) -> None:
    config = warehouse.config("append")
    warehouse.load(config, rows(("a", 1), ("a", 1)))
    second = warehouse.load(config, rows(("a", 1)))
    assert warehouse.rows() == [("a", 1)] * 3
    warehouse.load(config, rows(("a", 7)), load_id=second.load_id)
    assert warehouse.rows() == [("a", 1), ("a", 1), ("a", 7)]
    warehouse.load(config, rows(), load_id=second.load_id)
    assert warehouse.rows() == [("a", 1), ("a", 1)]


def test_an_append_by_a_cursor_takes_the_place_of_its_own_rows_only(warehouse: Warehouse) -> None:
    config = warehouse.config("append", cursor={"column": "n"})
    warehouse.load(config, rows(("a", 1), ("b", 2)))
    window = Window(2, after=True)
    warehouse.load(config, rows(("c", 3), ("d", 4)), window=window)
    warehouse.load(config, rows(("e", 5)), window=Window(4, after=True))
    warehouse.load(config, rows(("c", 3), ("d", 4)), window=window)
    assert warehouse.rows() == [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)]
    warehouse.load(config, rows(), window=window)
    assert len(warehouse.rows()) == 5


def test_a_day_that_is_appended_again_takes_the_place_of_the_day(warehouse: Warehouse) -> None:
    config = warehouse.config("append", cursor={"column": "Seen, {at}"})

    def seen(*days: int) -> pl.DataFrame:
        pairs = [(str(day), datetime(2024, 3, day, 12, tzinfo=UTC)) for day in days]
        return pl.DataFrame(
            pairs, schema={"id": pl.String, "Seen, {at}": pl.Datetime("us", "UTC")}, orient="row"
        )

    warehouse.load(config, seen(1, 2, 2, 3))
    day = Window(datetime(2024, 3, 2, tzinfo=UTC), datetime(2024, 3, 3, tzinfo=UTC))
    warehouse.load(config, seen(2), window=day)
    assert [key for (key,) in warehouse.query("select id from things_raw.things order by 1")] == [
        "1",
        "2",
        "3",
    ]
    warehouse.load(config, seen(), window=day)
    assert [key for (key,) in warehouse.query("select id from things_raw.things order by 1")] == [
        "1",
        "3",
    ]


def test_a_load_that_fails_in_between_leaves_the_table_as_it_was(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = warehouse.config("merge", primary_key="id")
    warehouse.load(config, pl.DataFrame({"id": [1, 2], "n": [1, 2]}))
    before = warehouse.rows("*")

    def fails(*_: object) -> None:
        raise RuntimeError("the power fails")

    monkeypatch.setattr("dataflow_runtime.pipeline.load._columns", fails)
    # It replaces a row, adds one, adds a column and widens another.
    rows = pl.DataFrame({"id": [2, 3], "n": [2.5, 3.5], "more": ["x", "y"]})
    with pytest.raises(DataflowError, match="the power fails"):
        warehouse.load(config, rows)
    assert warehouse.rows("*") == before
