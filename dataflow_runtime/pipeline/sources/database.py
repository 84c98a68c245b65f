"""The ``database`` source: PostgreSQL through ADBC, every other database through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.config.sources import DatabaseSource
from dataflow_runtime.errors import DataflowError, TransientError, did_you_mean
from dataflow_runtime.pipeline.frames import decimals, from_columns, to_frame, utc

__all__ = ["read"]


def read(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield the rows in frames of at most ``chunk_size``; the server keeps the rest of the result.

    For a run with a window the database sends only rows that may be inside.

    Raises:
        DataflowError: There is no driver for the URL, the database cannot be reached, or it
            refuses the query.
    """
    source = config.source.database
    assert source is not None
    engine = _engine(source)
    fetch = _from_postgres if engine.name == "postgresql" else _from_others
    try:
        yield from fetch(engine, _statement(engine, source, config), source.chunk_size)
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        passing = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
        raise (TransientError if passing else DataflowError)(
            # ADBC puts its own words before those of PostgreSQL.
            mask(f"source.database: {engine.url!r}: {reason.rpartition('ERROR:')[2].strip()}"),
            hint=_hint(engine, source),
        ) from None
    except (ValueError, OverflowError) as error:
        # A date before Christ, for example.
        raise DataflowError(
            mask(f"source.database: {engine.url!r}: a value cannot be read: {error}"),
            hint="cast the column to text in source.database.query",
        ) from None


def _engine(source: DatabaseSource) -> sa.Engine:
    try:
        url = sa.make_url(source.url.get_secret_value())
        if url.get_backend_name() in ("postgres", "postgresql"):
            import adbc_driver_postgresql  # noqa: F401 - to report it here if it is missing

            url = url.set(drivername="postgresql+psycopg2")
        engine = sa.create_engine(url, poolclass=sa.NullPool)
    except (sa.exc.ArgumentError, ImportError) as error:
        found, hint = "not an SQLAlchemy URL", "an example is postgresql://user:password@host/shop"
        # Other errors may quote the URL, password and all.
        if isinstance(error, sa.exc.NoSuchModuleError | ImportError):
            found = f"no driver for this URL is installed: {error}"
            hint = 'pip install "dataflow-runtime[postgres]" for PostgreSQL, or another dialect'
        raise DataflowError(mask(f"source.database.url: {found}"), hint=hint) from None
    file = url.database or ":memory:"
    # SQLite would make a new file.
    if engine.name == "sqlite" and not file.startswith((":", "file:")) and not Path(file).exists():
        raise DataflowError(
            f"source.database.url: there is no file {Path(file).absolute()}",
            hint="sqlite:///shop.db starts at the working directory, sqlite:////data/shop.db at /",
        )
    return engine


def _statement(engine: sa.Engine, source: DatabaseSource, config: WorkflowConfig) -> Any:
    """Return the statement that selects the rows of the run's window and those without a cursor."""
    rows: Any = sa.table(source.table or "", schema=source.db_schema)
    everything: Any = sa.select(sa.text("*")).select_from(rows)
    if source.query is not None:
        # A colon in the user's query does not begin a parameter.
        query = source.query.strip().rstrip(";").replace(":", r"\:")
        rows, everything = sa.text(f"({query}\n) AS source_rows"), sa.text(query)
    cursor, window = config.processing.cursor, config.window
    if cursor is None or window is None:
        return everything
    column: Any = sa.column(cursor.column)
    with engine.connect() as connection:
        known = sa.select(column).select_from(rows).where(column.is_not(None)).limit(1)
        sample = connection.execute(known).scalar()
    type_ = config.processing.columns.get(cursor.column, "")
    start, end = (_comparable(bound, sample, type_) for bound in (window.start, window.end))
    bounds = [column >= start] if start is not None else []
    bounds += [column <= end] if end is not None else []
    if not bounds:
        return everything
    inside = sa.or_(sa.and_(*bounds), column.is_(None))
    return sa.select(sa.text("*")).select_from(rows).where(inside)


def _comparable(bound: Any, sample: Any, type_: str) -> Any:
    """Return `bound` as a value that the database compares as the pipeline does, None without one.

    Text is never compared there: its order is that of a collation, and 9 comes after 10. What this
    does not exclude, above all the moment of the end, the pipeline's own filter does.
    """
    if isinstance(bound, bool) or isinstance(sample, bool):
        return None
    if isinstance(sample, int | float | Decimal):
        if isinstance(bound, datetime) and type_.startswith("epoch_"):
            return int(bound.timestamp()) * (1 if type_ == "epoch_s" else 1000)
        return bound if isinstance(bound, int | float | Decimal) else None
    if not isinstance(sample, date) or not isinstance(bound, date):
        return None
    if not isinstance(sample, datetime):
        return utc(bound).date()
    # Times without an offset are UTC.
    return utc(bound) if sample.tzinfo else utc(bound).replace(tzinfo=None)


def _from_others(engine: sa.Engine, statement: Any, size: int) -> Iterator[pl.DataFrame]:
    with engine.connect() as connection:
        # A cursor on the server: the client holds one chunk.
        result = connection.execution_options(yield_per=size).execute(statement)
        names = list(result.keys())
        _refuse_duplicates(names)
        for rows in result.partitions(size):
            yield from_columns(dict(zip(names, zip(*rows, strict=True), strict=True)))


def _from_postgres(engine: sa.Engine, statement: Any, size: int) -> Iterator[pl.DataFrame]:
    """Yield frames of Arrow batches, which ADBC makes of PostgreSQL's binary rows."""
    import adbc_driver_postgresql.dbapi as adbc
    import psycopg2
    from psycopg2.extensions import make_dsn

    compiled = statement.compile(dialect=_POSTGRES, compile_kwargs={"literal_binds": True})
    _, parameters = engine.dialect.create_connect_args(engine.url)
    try:
        with adbc.connect(make_dsn(**parameters)) as connection, connection.cursor() as cursor:
            yield from _in_background(_batches(cursor, str(compiled), size), cursor.adbc_cancel)
    except (adbc.Error, psycopg2.Error, OSError) as error:
        # Connection, transaction, resources, locks, operator, system; midway there is no code.
        passing = (getattr(error, "sqlstate", None) or "08")[:2] in _PASSING
        kind = sa.exc.OperationalError if passing else sa.exc.ProgrammingError
        raise kind(None, None, error) from None


_POSTGRES: sa.Dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
_PASSING = ("08", "40", "53", "55", "57", "58")
_NUMBERS = ("bool", "int2", "int4", "int8", "float8", "numeric")
_TEXTS = ("text", "varchar", "bpchar", "bytea")
_TIMES = ("date", "time", "timestamp", "timestamptz")


def _batches(cursor: Any, query: str, size: int) -> Iterator[pl.DataFrame]:
    cursor.execute("SET timezone = 'UTC'")
    schema = cursor.adbc_execute_schema(query)
    _refuse_duplicates(schema.names)
    types = [field.metadata[b"POSTGRESQL:type"].decode() for field in schema]
    columns = ", ".join(map(_selected, schema.names, types))
    cursor.execute(f"SELECT {columns} FROM ({query}\n) AS source_rows")  # noqa: S608 - quoted
    for batch in cursor.fetch_record_batch():
        for start in range(0, batch.num_rows, size):
            landed = map(_landed, batch.slice(start, size).columns, types)
            yield to_frame(pa.RecordBatch.from_arrays(list(landed), schema.names))


def _selected(name: str, type_: str) -> str:
    """Return the expression that selects a column as a type that Arrow has; otherwise as text."""
    column = _POSTGRES.identifier_preparer.quote_identifier(name)
    if type_ in (*_NUMBERS, *_TEXTS, *_TIMES):
        return column
    if type_.startswith("_"):
        return f"to_jsonb({column})::text AS {column}"
    # As a float8 the float4 0.1 would be 0.10000000149.
    target = {"oid": "int8", "float4": "text::float8"}.get(type_, "text")
    return f"{column}::{target} AS {column}"


def _landed(values: pa.Array, type_: str) -> pa.Array:
    """Return values of PostgreSQL as the types that all sources have."""
    if type_ == "numeric":
        return decimals(values.cast(pa.string()))
    if type_ in ("int2", "int4"):
        return values.cast(pa.int64())
    if type_ in _TIMES:
        # Raises for what Polars has no equal of: years before 1 or after 9999, infinity, 24:00.
        extremes = pc.min_max(values)
        extremes.as_py()
        if type_ == "time" and extremes["max"].value == 86_400_000_000:
            raise ValueError("24:00:00 is not a time of day")
    return values


def _in_background(batches: Iterator[Any], cancel: Callable[[], None]) -> Iterator[Any]:
    """Yield batches that a thread fetches while the one before is handled.

    The main thread stays free for signals, where ADBC would keep SIGINT to itself.
    """
    thread = ThreadPoolExecutor(1)
    following = thread.submit(next, batches, None)
    try:
        while True:
            # In short waits: once Polars is imported, SIGINT does not interrupt a long one.
            while not following.done():
                wait([following], timeout=0.2)
            if (batch := following.result()) is None:
                return
            following = thread.submit(next, batches, None)
            yield batch
    finally:
        if not following.done():
            cancel()
        thread.shutdown()


def _refuse_duplicates(names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataflowError(
            f"source.database.query: two columns are named {twice!r}",
            hint="give one of them an alias: AS …",
        )


def _hint(engine: sa.Engine, source: DatabaseSource) -> str:
    try:
        tables = sa.inspect(engine).get_table_names(source.db_schema)
    except sa.exc.SQLAlchemyError:
        return "check source.database.url: host, port, database, user and password"
    if source.table is None or source.table in tables:
        return "check source.database and the rights of its user"
    there = f"tables there: {', '.join(sorted(tables)[:20]) or 'none'}"
    return did_you_mean(source.table, tables) or there
