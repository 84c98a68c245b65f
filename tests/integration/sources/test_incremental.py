"""New rows and late ones, from each kind of source, by the newest value in each warehouse."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.e2e

FIRST = [(1, "2024-01-01T00:00:00Z"), (2, "2024-01-03T00:00:00Z"), (3, "2024-01-05T00:00:00Z")]
# One that came late, one that came too late, one that is new, one revised.
LATER = [
    (4, "2024-01-04T12:00:00Z"),
    (5, "2024-01-02T00:00:00Z"),
    (6, "2024-01-06T00:00:00Z"),
    (2, "2024-01-07T00:00:00Z"),
]


def csv(folder: Path, rows: list[Any], _: Any) -> dict[str, Any]:
    (folder / "things.csv").write_text(
        "id,updated\n" + "".join(f"{id_},{at}\n" for id_, at in rows)
    )
    return {"source.type": "file", "source.file.path": str(folder / "things.csv")}


def jsonl(folder: Path, rows: list[Any], _: Any) -> dict[str, Any]:
    lines = (json.dumps({"id": id_, "updated": at}) + "\n" for id_, at in rows)
    (folder / "things.jsonl").write_text("".join(lines))
    return {"source.type": "file", "source.file.path": str(folder / "things.jsonl")}


def parquet(folder: Path, rows: list[Any], _: Any) -> dict[str, Any]:
    frame = pl.DataFrame(rows, schema=["id", "updated"], orient="row")
    frame.with_columns(pl.col("updated").str.to_datetime(time_zone="UTC")).write_parquet(
        folder / "things.parquet"
    )
    return {"source.type": "file", "source.file.path": str(folder / "things.parquet")}


def sqlite(folder: Path, rows: list[Any], _: Any) -> dict[str, Any]:
    with closing(sqlite3.connect(folder / "things.db")) as connection, connection:
        connection.execute("drop table if exists things")
        connection.execute("create table things (id integer, updated text)")
        connection.executemany("insert into things values (?, ?)", rows)
    return {
        "source.type": "database",
        "source.database": {"url": f"sqlite:///{folder}/things.db", "table": "things"},
    }


def api(_: Path, rows: list[Any], server: Any) -> dict[str, Any]:
    server.answer = lambda _: [{"id": id_, "updated": at} for id_, at in rows]
    return {"source.type": "api", "source.api.url": server.url}


@pytest.mark.parametrize(
    "source", [csv, jsonl, parquet, sqlite, api], ids=lambda source: source.__name__
)
def test_new_rows_and_late_ones(
    warehouse: Any, load: Callable[..., Any], source: Any, tmp_path: Path, server: Any
) -> None:
    processing = {
        "primary_key": "id",
        "columns": {"id": "integer", "updated": "timestamp"},
        "cursor": {"column": "updated", "lookback": "1d"},
    }
    assert load(**source(tmp_path, FIRST, server), processing=processing).loaded == 3
    # The newest one is read again: more may have come with the same time.
    assert load(**source(tmp_path, FIRST + LATER, server), processing=processing).extracted == 4
    found = warehouse.query(
        "select id, extract(day from updated) from things_raw.things order by id"
    )
    assert found == [(1, 1), (2, 7), (3, 5), (4, 4), (6, 6)]
    assert load(**source(tmp_path, FIRST + LATER, server), processing=processing).extracted == 2
    assert warehouse.query("select count(*) from things_raw.things") == [(5,)]
