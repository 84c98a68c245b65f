"""The ``database`` source against a real PostgreSQL and SQLite."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import time as time_
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import psycopg2
import pytest
import sqlalchemy as sa

from dataflow_runtime.config import Window
from dataflow_runtime.errors import DataflowError, TransientError
from dataflow_runtime.pipeline.sources import read_source
from dataflow_runtime.pipeline.window import resolve

PASSWORD = "s3cr/et+pass"


@pytest.fixture
def execute(postgres: str) -> Iterator[Any]:
    """Run SQL on the server, in a schema of the test's own that is the default."""
    engine = sa.create_engine(sa.make_url(postgres).set(drivername="postgresql+psycopg2"))
    connection = engine.raw_connection()
    connection.driver_connection.autocommit = True  # type: ignore[union-attr]

    def run(*statements: str) -> None:
        for statement in statements:
            connection.cursor().execute(statement)

    run("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    yield run
    connection.close()
    engine.dispose()


@pytest.fixture
def rows(read: Any, postgres: str) -> Any:
    def rows(**settings: Any) -> pl.DataFrame:
        frame: pl.DataFrame = read("database", **{"url": postgres, **settings})
        return frame

    return rows


@pytest.fixture
def sqlite(tmp_path: Path) -> Any:
    def make(*statements: str) -> str:
        with sqlite3.connect(tmp_path / "source.db") as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()
        return f"sqlite:///{tmp_path}/source.db"

    return make


def test_types_of_postgres(execute: Any, rows: Any) -> None:
    execute(
        "SET timezone = 'Europe/Berlin'",
        """CREATE TABLE things (id bigint, small smallint, amount numeric(20, 4),
           any_amount numeric, ratio float8, flag boolean, at timestamptz, at_naive timestamp,
           day date, clock time, key uuid, doc jsonb, doc_text json, content bytea, tags text[],
           numbers int[], word text, span interval, address inet, box int4range)""",
        "INSERT INTO things (id) VALUES (NULL)",
        r"""INSERT INTO things VALUES (9223372036854775807, -1, 1234567890123456.7891, 0.000000001,
           0.1, true, '2024-03-31 03:30:00+02', '2024-03-31 02:30', '2024-02-29', '12:30',
           'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
           '{"a": [1, null], "n": 12345678901234567890.10}', '"x"', '\x00ff', '{"a,b", NULL}',
           '{1,2}', 'Zoë 🎉 ''"', '1 day 2 hours', '10.0.0.1/8', '[1,5)')""",
    )
    frame = rows(table="things")
    second, first = frame.to_dicts()
    assert set(second.values()) == {None}
    assert json.loads(first.pop("doc"), parse_float=str) == {
        "a": [1, None],
        "n": "12345678901234567890.10",
    }
    assert first == {
        "id": 2**63 - 1,
        "small": -1,
        "amount": Decimal("1234567890123456.7891"),
        "any_amount": Decimal("0.000000001"),
        "ratio": 0.1,
        "flag": True,
        "at": datetime(2024, 3, 31, 1, 30, tzinfo=UTC),
        "at_naive": datetime(2024, 3, 31, 2, 30),
        "day": date(2024, 2, 29),
        "clock": time(12, 30),
        "key": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "doc_text": '"x"',
        "content": b"\x00\xff",
        "tags": '["a,b", null]',
        "numbers": "[1, 2]",
        "word": "Zoë 🎉 '\"",
        "span": "1 day 02:00:00",
        "address": "10.0.0.1/8",
        "box": "[1,5)",
    }


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("timetz '12:30+02'", "12:30:00+02"),
        ("interval '1 mon 3 days'", "1 mon 3 days"),
        ("'infinity'::interval", "infinity"),
        ("1::money", "$1.00"),
        ("4294967295::oid", 4294967295),
        ("0.1::float4", 0.1),
        ("'1.10'::json", "1.10"),
        ("'{\"a\":   1.10}'::json", '{"a":   1.10}'),
        ("'{{1,2},{3,4}}'::int[]", "[[1, 2], [3, 4]]"),
        ("'{1.10}'::numeric[]", "[1.10]"),
        ("array['2024-01-01 00:00+01'::timestamptz]", '["2023-12-31T23:00:00+00:00"]'),
        ("array['{\"a\": 1}'::jsonb]", '[{"a": 1}]'),
        ("row(1, 'x')", "(1,x)"),
        ("'x  '::char(3)", "x  "),
        ("point(1, 2)", "(1,2)"),
        ("b'101'", "101"),
        ("'infinity'::float8", float("inf")),
        ("'-infinity'::float8", float("-inf")),
        ("'mad'::mood", "mad"),
        ("array['mad'::mood]", '["mad"]'),
        ("'7'::positive", 7),
    ],
)
def test_values_arrive_unchanged(execute: Any, rows: Any, expression: str, expected: Any) -> None:
    execute(
        "CREATE TYPE mood AS ENUM ('sad', 'mad')",
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
    )
    [value] = rows(query=f"SELECT {expression} AS x")["x"].to_list()
    assert value == expected


@pytest.mark.parametrize(
    "expression",
    [
        "'infinity'::timestamptz",
        "'-infinity'::timestamp",
        "'infinity'::date",
        "date '12024-01-01'",
        "timestamp '2024-01-01 BC'",
        "time '24:00'",
    ],
)
def test_times_that_the_pipeline_does_not_have_are_an_error(
    execute: Any, rows: Any, expression: str
) -> None:
    query = f"SELECT {expression} AS x UNION ALL SELECT NULL"
    with pytest.raises(DataflowError, match="a value cannot be read") as raised:
        rows(query=query)
    assert raised.value.hint == "cast the column to text in source.database.query"
    assert rows(query=f"SELECT x::text FROM ({query}) AS y")["x"].null_count() == 1


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (["1.5", "NULL"], pl.Decimal(38, 9), [Decimal("1.5"), None]),
        (["1e-12"], pl.Decimal(38, 18), [Decimal("1e-12")]),
        (["1e28"], pl.Decimal(38, 9), [Decimal("1e28")]),
        (["1e20", "1e-20"], pl.String, ["100000000000000000000", "0.00000000000000000001"]),
        (["'NaN'", "1"], pl.String, ["nan", "1"]),
    ],
)
def test_numeric_is_exact(
    execute: Any, rows: Any, values: list[str], dtype: Any, expected: list[Any]
) -> None:
    selected = " UNION ALL ".join(f"SELECT {value}::numeric AS x" for value in values)
    found = rows(query=selected)["x"]
    assert found.dtype == dtype
    assert found.to_list() == expected


@pytest.mark.e2e
@pytest.mark.parametrize("chunk_size", [1, 50_000])
def test_numbers_intervals_and_arrays_are_loaded_unchanged(
    warehouse: Any, load: Any, postgres: str, chunk_size: int
) -> None:
    query = """SELECT 1 AS id, 1.5::numeric AS n, interval '1 mon' AS i, timetz '12:30+02' AS t
        UNION ALL SELECT 2, 1e20, 'infinity', NULL UNION ALL SELECT 3, 1e-20, NULL, '12:30+03'"""
    database = {"url": postgres, "query": query, "chunk_size": chunk_size}
    overrides = {"source.type": "database", "source.database": database}
    load(**overrides, **{"processing.batch_size": chunk_size})
    found = warehouse.query("select id, n, i, t from things_raw.things order by id")
    assert [(id_, Decimal(n), i, t) for id_, n, i, t in found] == [
        (1, Decimal("1.5"), "1 mon", "12:30:00+02"),
        (2, Decimal("1e20"), "infinity", None),
        (3, Decimal("1e-20"), None, "12:30:00+03"),
    ]


def test_types_do_not_depend_on_the_chunk(execute: Any, configure: Any, postgres: str) -> None:
    execute(
        "CREATE TABLE things (at timestamptz, amount numeric)",
        """INSERT INTO things VALUES ('2024-01-01 00:00+01', 1), ('2024-07-01 00:00+02', 1.25),
           ('2024-01-02', 100)""",
    )
    database = {"url": postgres, "table": "things", "chunk_size": 1}
    frames = list(read_source(configure({"type": "database", "database": database})))
    assert [frame.height for frame in frames] == [1, 1, 1]
    assert {frame.schema["at"] for frame in frames} == {pl.Datetime("us", "UTC")}
    assert {frame.schema["amount"] for frame in frames} == {pl.Decimal(38, 9)}


def test_types_of_sqlite(read: Any, sqlite: Any) -> None:
    url = sqlite(
        """CREATE TABLE things (id INTEGER, amount NUMERIC, ratio REAL, at DATETIME, content BLOB,
           word TEXT, mixed)""",
        """INSERT INTO things VALUES (9223372036854775807, 1.5, 2, '2024-01-01 00:00:00', x'00ff',
           'Zoë 🎉', 'one')""",
        "INSERT INTO things VALUES (NULL, NULL, NULL, 'no date', NULL, '', 1)",
    )
    assert read("database", url=url, table="things").rows() == [
        (2**63 - 1, 1.5, 2.0, "2024-01-01 00:00:00", b"\x00\xff", "Zoë 🎉", "one"),
        (None, None, None, "no date", None, "", "1"),
    ]


def test_identifiers_are_quoted(execute: Any, rows: Any, read: Any, sqlite: Any) -> None:
    name = """Robert'); DROP TABLE "x" % :y;--"""
    quoted = '"' + name.replace('"', '""') + '"'
    execute(
        f"CREATE SCHEMA {quoted}",
        f'CREATE TABLE {quoted}.{quoted} ("select" int, "ÄÖ % :x" int)',
        f"INSERT INTO {quoted}.{quoted} VALUES (1, 2)",
    )
    assert rows(table=name, schema=name).to_dicts() == [{"select": 1, "ÄÖ % :x": 2}]
    url = sqlite(f'CREATE TABLE {quoted} ("select" int)', f"INSERT INTO {quoted} VALUES (3)")
    assert read("database", url=url, table=name)["select"].to_list() == [3]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 7 % 4 AS n, ':a' AS a, 'x:y %s %(z)s' AS b, '2024-01-01'::date AS c;",
        """WITH x AS (SELECT 3 AS n)
           SELECT n, ':a' AS a, 'x:y %s %(z)s' AS b, DATE '2024-01-01' AS c FROM x -- ;""",
        r"""SELECT 3 AS n, ':a' AS a, 'x:y %s %(z)s' AS b, DATE '2024-01-01' AS c
            WHERE 'a\:b' LIKE 'a\\:%'""",
    ],
)
def test_a_query_is_taken_as_it_is(execute: Any, rows: Any, query: str) -> None:
    assert rows(query=query).rows() == [(3, ":a", "x:y %s %(z)s", date(2024, 1, 1))]


def test_the_rest_of_the_result_stays_on_the_server(configure: Any, postgres: str) -> None:
    # Fetched as a whole, it would need some 100 GB.
    query = "SELECT generate_series(1, 1000000000) AS n, repeat('x', 100) AS x"
    database = {"url": postgres, "query": query, "chunk_size": 10_000}
    frames = iter(read_source(configure({"type": "database", "database": database})))
    assert [next(frames).height, next(frames).height] == [10_000, 10_000]
    frames.close()  # type: ignore[attr-defined]


def test_no_rows(configure: Any, execute: Any, postgres: str) -> None:
    execute("CREATE TABLE things (id int)")
    assert (
        list(
            read_source(
                configure({"type": "database", "database": {"url": postgres, "table": "things"}})
            )
        )
        == []
    )


def test_a_signal_ends_a_query_that_sends_nothing_yet(postgres: str, tmp_path: Path) -> None:
    program = """if True:
        import signal, sys
        from dataflow_runtime.config import WorkflowConfig
        from dataflow_runtime.pipeline.sources import read_source
        # Ignored in what a shell runs in the background.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        source = {"type": "database", "database": {"url": sys.argv[1], "query": sys.argv[2]}}
        print("reading", flush=True)
        list(read_source(WorkflowConfig.model_validate({"source": source})))
    """
    query = "SELECT 1 AS a, pg_sleep(60)::text AS b"
    arguments = [sys.executable, "-c", program, postgres, query]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with psycopg2.connect(postgres) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%%pg_sleep%%'"
            for _ in range(200):
                cursor.execute(running)
                if cursor.fetchall() == [(1,)]:
                    break
                time_.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=5)
            assert process.returncode == -signal.SIGINT
            assert b"KeyboardInterrupt" in errors
            # The server does not go on with it.
            cursor.execute(running)
            assert cursor.fetchall() == [(0,)]


# The cursor

LOADED = {
    "timestamp": ("TIMESTAMPTZ", "'2024-01-03 00:00:00+00'"),
    "date": ("DATE", "'2024-01-03'"),
    "integer": ("BIGINT", "3"),
    "float": ("DOUBLE", "3.0"),
    "decimal": ("DECIMAL(38, 9)", "3"),
    "epoch_s": ("TIMESTAMPTZ", "'2024-01-03 00:00:00+00'"),
    "epoch_ms": ("TIMESTAMPTZ", "'2024-01-03 00:00:00+00'"),
    "string": ("VARCHAR", "'3'"),
}
DAY = "TIMESTAMPTZ '2024-01-01 00:00+00' + (n - 1) * INTERVAL '1 day'"


@pytest.fixture
def incremental(configure: Any, tmp_path: Path) -> Any:
    """Read from a source after a run that has loaded 3, or the third of January."""

    def read_new(
        url: str, kind: str, *, lookback: Any = 0, window: Window | None = None, **settings: Any
    ) -> list[Any]:
        dtype, newest = LOADED[kind]
        with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS things_raw")
            connection.execute(
                f"CREATE OR REPLACE TABLE things_raw.things AS SELECT {newest}::{dtype} AS at"
            )
        config = configure(
            {"type": "database", "database": {"url": url, **settings}},
            processing={
                "primary_key": "id",
                "columns": {"id": "integer", "at": kind},
                "cursor": {"column": "at", "lookback": lookback},
            },
            output={"duckdb": {"path": str(tmp_path / "warehouse.duckdb")}},
        )
        frames = list(read_source(config.within(resolve(config, window))))
        return sorted(id_ for frame in frames for id_ in frame["id"])

    return read_new


@pytest.mark.parametrize(
    ("kind", "expression"),
    [
        ("timestamp", DAY),
        ("timestamp", f"({DAY}) AT TIME ZONE 'UTC'"),
        ("timestamp", f"(({DAY}) AT TIME ZONE 'UTC')::date"),
        ("date", f"(({DAY}) AT TIME ZONE 'UTC')::date"),
        ("date", DAY),
        ("integer", "n"),
        ("integer", "n::numeric"),
        ("float", "n::float8"),
        ("decimal", "n::numeric"),
        ("epoch_s", f"extract(epoch FROM {DAY})::bigint"),
        ("epoch_ms", f"extract(epoch FROM {DAY})::bigint * 1000"),
    ],
)
def test_the_database_sends_new_rows_only(
    execute: Any, postgres: str, incremental: Any, kind: str, expression: str
) -> None:
    execute(
        "SET timezone = 'UTC'",
        f"CREATE TABLE things AS SELECT n AS id, {expression} AS at FROM generate_series(1, 5) n",
    )
    execute("INSERT INTO things VALUES (0, NULL)")
    # One without a cursor is read, to be rejected in the open.
    assert incremental(postgres, kind, table="things") == [0, 3, 4, 5]
    assert incremental(
        postgres, kind, query="SELECT * FROM things WHERE id % 2 = 1 ORDER BY 1;"
    ) == [3, 5]
    if kind != "decimal":
        lookback = 1 if kind in ("integer", "float") else "1d"
        assert incremental(postgres, kind, table="things", lookback=lookback) == [0, 2, 3, 4, 5]


def test_text_is_not_compared_by_the_database(
    execute: Any, postgres: str, incremental: Any, sqlite: Any
) -> None:
    execute("CREATE TABLE things AS SELECT n AS id, n::text AS at FROM generate_series(1, 10) n")
    everything = list(range(1, 11))
    assert incremental(postgres, "integer", table="things") == everything
    assert incremental(postgres, "string", table="things") == everything
    url = sqlite(
        "CREATE TABLE things (id int, at text)",
        "INSERT INTO things VALUES (1, '10'), (2, '2'), (3, '4')",
    )
    assert incremental(url, "integer", table="things") == [1, 2, 3]


def test_the_database_sends_the_rows_of_a_range(
    execute: Any, postgres: str, incremental: Any
) -> None:
    execute(
        """CREATE TABLE things AS
           SELECT n AS id, DATE '2024-01-01' + n - 1 AS at FROM generate_series(1, 5) n"""
    )
    window = Window(datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 4, tzinfo=UTC))
    # The day of the end comes too: a part of it may be inside; the pipeline drops what is not.
    assert incremental(postgres, "date", table="things", window=window) == [2, 3, 4]


def test_new_rows_of_sqlite(incremental: Any, sqlite: Any) -> None:
    url = sqlite(
        "CREATE TABLE things (id int, at numeric)",
        "INSERT INTO things VALUES (1, 1), (2, 3), (3, 4.5), (4, null)",
    )
    assert incremental(url, "integer", table="things") == [2, 3, 4]
    assert incremental(url, "decimal", query="SELECT id, at FROM things") == [2, 3, 4]


# Errors


def test_an_unknown_table_is_an_error(execute: Any, rows: Any, read: Any, sqlite: Any) -> None:
    execute("CREATE TABLE orders (id int)")
    with pytest.raises(
        DataflowError, match=r'source\.database: postgresql.*: relation "order" does not exist'
    ) as raised:
        rows(table="order")
    assert raised.value.hint == "did you mean 'orders'?"
    with pytest.raises(DataflowError, match="no such table: gone") as raised:
        read(
            "database",
            url=sqlite("CREATE TABLE a (id int)", "CREATE TABLE b (id int)"),
            table="gone",
        )
    assert raised.value.hint == "tables there: a, b"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT 1 / 0", "division by zero"),
        ("SELECT 1 AS a, 2 AS b, 3 AS a", "two columns are named 'a'"),
        ("CREATE TABLE x (id int)", "does not return rows|syntax error"),
        ("SELECT date '12024-01-01' AS d", "a value cannot be read"),
    ],
)
def test_a_failing_query_is_an_error(execute: Any, rows: Any, query: str, message: str) -> None:
    with pytest.raises(DataflowError, match=message) as raised:
        rows(query=query)
    assert raised.value.hint
    assert "\n" not in raised.value.message


def test_a_wrong_password_is_an_error(execute: Any, postgres: str, rows: Any) -> None:
    folder = Path(sa.make_url(postgres).query["host"])  # type: ignore[arg-type]
    rules = folder / "pg_hba.conf"
    execute(f"DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
    rules.write_text("local all reader scram-sha-256\n" + rules.read_text())
    execute("SELECT pg_reload_conf()")
    good = sa.make_url(postgres).set(username="reader", password=PASSWORD)
    assert rows(url=good.render_as_string(hide_password=False), query="SELECT 1 AS n")[
        "n"
    ].to_list() == [1]
    for _ in range(100):  # the server takes the new rules when it comes to it
        try:
            psycopg2.connect(
                host=str(folder), dbname=good.database, user="reader", password="x"
            ).close()
        except psycopg2.OperationalError:
            break
        time_.sleep(0.05)
    wrong = good.set(password="wr0ng/pass").render_as_string(hide_password=False)
    with pytest.raises(
        DataflowError, match=r'password authentication failed for user "reader"'
    ) as raised:
        rows(url=wrong, table="things")
    assert "wr0ng" not in str(raised.value)
    assert "user and password" in str(raised.value.hint)


def test_a_refused_connection_is_an_error(rows: Any) -> None:
    with pytest.raises(
        DataflowError, match=r"source\.database: postgresql.*127\.0\.0\.1.*(refused|failed)"
    ) as raised:
        rows(url="postgresql://me:hidden-word@127.0.0.1:1/db", table="things")
    assert "hidden-word" not in str(raised.value)
    assert "host, port" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "mysql+pymysql://me:hidden-word@host/db",
            "no driver for this URL is installed: .*pymysql",
        ),
        ("nosuchdb://me:hidden-word@host/db", "no driver for this URL is installed: .*nosuchdb"),
        ("no.such.db://me:hidden-word@host/db", "not an SQLAlchemy URL"),
    ],
)
def test_a_url_without_a_driver_is_an_error(rows: Any, url: str, message: str) -> None:
    with pytest.raises(DataflowError, match=rf"source\.database\.url: {message}") as raised:
        rows(url=url, table="things")
    assert "hidden-word" not in str(raised.value)
    assert raised.value.hint


def test_a_missing_sqlite_file_is_an_error(rows: Any, tmp_path: Path) -> None:
    file = tmp_path / "gone.db"
    with pytest.raises(DataflowError, match=rf"there is no file {file}"):
        rows(url=f"sqlite:///{file}", table="things")
    assert not file.exists()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_all_urls_of_postgres(postgres: str, rows: Any, scheme: str) -> None:
    url = postgres.replace("postgresql://", f"{scheme}://") + "&options=-c search_path=a%2Cb"
    found = rows(url=url, query="SELECT current_setting('search_path') AS path")
    assert found["path"].to_list() == ["a,b"]


def test_postgres_without_its_extra(
    monkeypatch: pytest.MonkeyPatch, postgres: str, rows: Any
) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    with pytest.raises(DataflowError, match="no driver for this URL is installed") as raised:
        rows(table="things")
    assert 'pip install "dataflow-runtime[postgres]"' in str(raised.value.hint)


def test_an_unknown_option_of_the_url_is_an_error(postgres: str, rows: Any) -> None:
    with pytest.raises(DataflowError, match=r'source\.database: .*option "ssl"'):
        rows(url=f"{postgres}&ssl=require", query="SELECT 1 AS n")


def test_a_connection_lost_midway_and_the_next_run_completes(
    execute: Any, configure: Any, postgres: str
) -> None:
    query = "SELECT n, repeat('x', 1000) AS x FROM generate_series(1, 200000) AS n"
    config = configure(
        {"type": "database", "database": {"url": postgres, "query": query, "chunk_size": 1000}}
    )
    frames = read_source(config)
    next(frames)
    execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%%repeat%%'"
    )
    with pytest.raises(TransientError, match=re.compile(r"source\.database: .*(terminat|closed)")):
        list(frames)
    assert sum(frame.height for frame in read_source(config)) == 200_000
