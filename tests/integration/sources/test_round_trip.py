"""Each kind of source to each warehouse: no value changes on the way."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import psycopg2
import pytest

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.staging import StagedRun

pytestmark = pytest.mark.e2e

Load = Callable[..., StagedRun]

INJECTION = "Robert'); DROP TABLE students;--"
DECLARED = {
    "id": "integer",
    "amount": "decimal",
    "price": "decimal(38, 0)",
    "ratio": "float",
    "flag": "boolean",
    "at": "timestamp",
    "day": "date",
    "word": "string",
    "doc": "json",
    "select": "string",
    INJECTION: "string",
}
# What a warehouse cannot name it gets with underscores.
NAMES = [*list(DECLARED)[:-1], "Robert_)_ DROP TABLE students_--"]
FIRST, LAST = -(2**63), 2**63 - 1
DIGITS, PRICE = Decimal("-12345678901234567890123456789.123456789"), Decimal("9" * 38)
WORD = "Zoë 🎉 'a' \"b\"\n\tc,d;\\N"
DOC = {"a": [1, None, {"b": "ü🎉"}]}
AT, EARLY, LEAP = (
    datetime(2024, 3, 31, 1, 30, tzinfo=UTC),
    datetime(1, 1, 3, tzinfo=UTC),
    date(2024, 2, 29),
)
ROWS: list[tuple[Any, ...]] = [
    (FIRST, DIGITS, PRICE, 0.1, True, AT, LEAP, WORD, DOC, "from", "--"),
    (
        LAST,
        Decimal("0.000000001"),
        Decimal(0),
        -1.5e300,
        False,
        EARLY,
        date(9999, 12, 31),
        "",
        [],
        "",
        "'; --",
    ),
    (0, *[None] * 10),
]
NUL = "1\0x"


def text(value: Any) -> Any:
    """Return a value as a file or an API shows it: times in Berlin time, all digits of numbers."""
    if isinstance(value, datetime):
        return "2024-03-31T03:30:00+02:00" if value.year == 2024 else value.isoformat()
    if isinstance(value, date | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else value.isoformat()
    return value


def stored(row: Iterable[Any]) -> list[Any]:
    """Return a row as one stores it that has no nested values."""
    return [json.dumps(value) if isinstance(value, dict | list) else value for value in row]


RECORDS = [dict(zip(DECLARED, map(text, row), strict=True)) for row in ROWS]


def csv(folder: Path, _: Any) -> dict[str, Any]:
    def cell(value: Any) -> str:
        if value is None:
            return "NULL"
        value = json.dumps(value) if isinstance(value, dict | list | bool) else str(value)
        return '"' + value.replace('"', '""') + '"'

    lines = [list(DECLARED), *(list(record.values()) for record in RECORDS)]
    (folder / "things.csv").write_text("".join(",".join(map(cell, line)) + "\n" for line in lines))
    return {
        "source.file.path": str(folder / "things.csv"),
        "source.file.options.null_values": ["NULL"],
    }


def jsonl(folder: Path, _: Any) -> dict[str, Any]:
    (folder / "things.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return {"source.file.path": str(folder / "things.jsonl")}


def document(folder: Path, _: Any) -> dict[str, Any]:
    (folder / "things.json").write_text(json.dumps({"data": RECORDS}, ensure_ascii=False))
    return {"source.file.path": str(folder / "things.json"), "source.file.records": "$.data"}


def geojson(folder: Path, _: Any) -> dict[str, Any]:
    features = [
        {"type": "Feature", "id": record["id"], "properties": record, "geometry": None}
        for record in RECORDS
    ]
    (folder / "things.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    return {"source.file.path": str(folder / "things.geojson")}


def parquet(folder: Path, _: Any) -> dict[str, Any]:
    rows = [dict(zip(DECLARED, stored(row), strict=True)) for row in ROWS]
    digits = {"amount": pl.Decimal(38, 9), "price": pl.Decimal(38, 0)}
    pl.DataFrame(rows, schema_overrides=digits).write_parquet(folder / "things.parquet")
    return {"source.file.path": str(folder / "things.parquet")}


def api(_: Path, request: Any) -> dict[str, Any]:
    server = request.getfixturevalue("server")
    server.answer = lambda asked: {"rows": RECORDS[int(asked.query["page"]) :][:1]}
    return {
        "source.type": "api",
        "source.api.url": server.url,
        "source.api.pagination": {"type": "page_number", "base_page": 0},
        "source.api.data_selector": "rows",
    }


def sqlite(folder: Path, _: Any) -> dict[str, Any]:
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in DECLARED)
    with closing(sqlite3.connect(folder / "things.db")) as connection, connection:
        connection.execute(f"create table things ({names})")
        places = ", ".join("?" * len(DECLARED))
        connection.executemany(
            f"insert into things values ({places})", [stored(row.values()) for row in RECORDS]
        )
    return {
        "source.type": "database",
        "source.database": {"url": f"sqlite:///{folder}/things.db", "table": "things"},
    }


def postgresql(_: Path, request: Any) -> dict[str, Any]:
    url = request.getfixturevalue("postgres")
    types = [
        "bigint",
        "numeric",
        "numeric(38)",
        "float8",
        "boolean",
        "timestamptz",
        "date",
        "text",
        "jsonb",
        "text",
        "text",
    ]
    names = ", ".join(f'"{name}" {kind}' for name, kind in zip(DECLARED, types, strict=True))
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("drop schema if exists things_source cascade; create schema things_source")
        cursor.execute("set timezone = 'Asia/Tokyo'")
        cursor.execute(f"create table things_source.things ({names})")
        for row in ROWS:
            cursor.execute(
                f"insert into things_source.things values ({', '.join(['%s'] * len(row))})",
                stored(row),
            )
    return {
        "source.type": "database",
        "source.database": {"url": url, "table": "things", "schema": "things_source"},
    }


SOURCES = [csv, jsonl, document, geojson, parquet, api, sqlite, postgresql]


def loaded(warehouse: Any) -> list[tuple[Any, ...]]:
    names, doc = ", ".join(f'"{name}"' for name in NAMES), NAMES.index("doc")
    rows = warehouse.query(f"select {names} from things_raw.things order by id")
    return [(*row[:doc], row[doc] and json.loads(row[doc]), *row[doc + 1 :]) for row in rows]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_no_value_changes(
    warehouse: Any, load: Load, source: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = {"source.type": "file", **source(tmp_path, request), "processing.batch_size": 2}
    for _ in range(2):
        manifest = load(**settings, processing__columns=DECLARED, processing__primary_key="id")
        assert (manifest.extracted, manifest.rejected_by, manifest.loaded) == (3, {}, 3)
        assert loaded(warehouse) == sorted(ROWS)
    types = warehouse.columns()
    assert {types["amount"], types["price"]} == {"numeric(38,9)", "numeric(38,0)"}
    assert types["at"] == "timestamp with time zone"
    assert (types["id"], types["day"], types["flag"]) == ("bigint", "date", "boolean")


def test_a_nul_character_is_loaded_or_rejected_never_cut_off(
    warehouse: Any, load: Load, tmp_path: Path
) -> None:
    (tmp_path / "things.jsonl").write_text(
        f'{{"id": 1, "word": {json.dumps(NUL)}}}\n{{"id": 2, "word": "x"}}'
    )
    settings = {"source.type": "file", "source.file.path": str(tmp_path / "things.jsonl")}
    manifest = load(**settings, processing__primary_key="id")
    if warehouse.kind == "duckdb":
        assert warehouse.query("select word from things_raw.things order by id") == [(NUL,), ("x",)]
    else:  # its text has no such character
        assert manifest.rejected_by == {"nul_byte": 1}
        [(key, row)] = warehouse.query("select row_key, row from things_raw.things_rejected")
        assert (key, json.loads(row)) == ("1", {"id": 1, "word": NUL})


def test_types_that_nobody_declared(warehouse: Any, load: Load, tmp_path: Path) -> None:
    at = datetime(2024, 3, 31, 1, 30, 0, 123456)
    frame = pl.DataFrame(
        {
            "tiny": pl.Series([-128, None], dtype=pl.Int8),
            "small": pl.Series([65535, None], dtype=pl.UInt16),
            "huge": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
            "single": pl.Series([0.5, None], dtype=pl.Float32),
            "price": pl.Series([Decimal("12345678.90"), None], dtype=pl.Decimal(10, 2)),
            "naive": pl.Series([at, None], dtype=pl.Datetime("us")),
            "zoned": pl.Series([at, None], dtype=pl.Datetime("ns")).dt.replace_time_zone(
                "Asia/Tokyo"
            ),
            "clock": pl.Series([at.time(), None], dtype=pl.Time),
            "content": pl.Series([b"\x00\xff", None], dtype=pl.Binary),
            "kind": pl.Series(["a", None], dtype=pl.Categorical),
            "level": pl.Series(["low", None], dtype=pl.Enum(["low", "high"])),
            "tags": pl.Series([["ü", None], None], dtype=pl.List(pl.String)),
            "place": pl.Series(
                [{"x": 1, "y": None}, None], dtype=pl.Struct({"x": pl.Int64, "y": pl.Int64})
            ),
            "span": pl.Series([at - datetime(2024, 3, 30), None], dtype=pl.Duration),
            "nothing": pl.Series([None, None], dtype=pl.Null),
        }
    )
    frame.write_parquet(tmp_path / "things.parquet")
    load(**{"source.type": "file", "source.file.path": str(tmp_path / "things.parquet")})
    names = list(warehouse.columns())
    rows = warehouse.query("select * from things_raw.things order by tiny nulls last")
    first, second = (dict(zip(names, row, strict=False)) for row in rows)
    assert names == [name for name in frame.columns if name != "nothing"]
    assert set(second.values()) == {None}
    assert (first["tiny"], first["small"], first["huge"], first["single"]) == (
        -128,
        65535,
        2**64 - 1,
        0.5,
    )
    assert (first["price"], warehouse.columns()["price"]) == (
        Decimal("12345678.90"),
        "numeric(10,2)",
    )
    assert (first["naive"].replace(tzinfo=None), first["clock"]) == (at, at.time())
    assert first["zoned"] == at.replace(tzinfo=ZoneInfo("Asia/Tokyo"))
    assert (bytes(first["content"]), first["kind"], first["level"]) == (b"\x00\xff", "a", "low")
    assert (json.loads(first["tags"]), json.loads(first["place"])) == (
        ["ü", None],
        {"x": 1, "y": None},
    )
    assert first["span"] == "P1DT1H30M0.123456S"


def test_names_that_a_warehouse_cannot_tell_apart(warehouse: Any, load: Load) -> None:
    with pytest.raises(DataflowError, match=r"columns .*a;b.*a'b.* have the same name"):
        load([[{"a;b": 1, "a'b": 2}]])
    with pytest.raises(DataflowError, match=r"columns .*'A', 'a'.* have the same name"):
        load([[{"A": 1, "a": 2}]])
    assert warehouse.tables() == set()


def test_names_that_are_too_long_for_one_warehouse_are_cut_in_both(
    warehouse: Any, load: Load
) -> None:
    name = "ü" * 40
    load([[{f"{name}a": 1, f"{name}b": 2}]])
    first, second = warehouse.columns()
    assert len({first, second}) == 2
    assert all(
        found.startswith("ü" * 27) and len(found.encode()) <= 63 for found in (first, second)
    )


def test_generated_rows(warehouse: Any, load: Load) -> None:
    declared = {name: kind for name, kind in DECLARED.items() if name != INJECTION}
    settings = {
        "processing.columns": declared,
        "processing.primary_key": "id",
        "source.mock.bad_ratio": 0.1,
    }
    manifest = load(**settings)
    assert (manifest.extracted, manifest.rejected, manifest.loaded) == (1000, 100, 900)
    [(rows, keys, first, last)] = warehouse.query(
        'select count(*), count(distinct id), min("at"), max("at") from things_raw.things'
    )
    assert (rows, keys) == (900, 900)
    assert datetime(2024, 1, 1, tzinfo=UTC) <= first < last < datetime(2024, 1, 8, tzinfo=UTC)
    assert warehouse.query("select count(*) from things_raw.things_rejected") == [(100,)]
