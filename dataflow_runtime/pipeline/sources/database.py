"""The ``database`` source: a table or query of any SQLAlchemy URL, fetched in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError, TransientError, did_you_mean
from dataflow_runtime.pipeline.frames import from_columns

if TYPE_CHECKING:
    from dataflow_runtime.config.models import DatabaseSource

__all__ = ["read"]


def read(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield the rows in frames of ``chunk_size`` rows; the server keeps the rest of the result.

    Of a run with a window the database sends only rows that may be inside.

    Raises:
        DataflowError: No driver is installed for the URL, the database cannot be reached, or it refuses the query.
    """
    source = config.source.database
    assert source is not None
    engine = _engine(source)
    try:
        with engine.connect() as connection:
            query = _rows_inside(connection, source, config)
            # A cursor on the server: the client holds one chunk.
            result = connection.execution_options(yield_per=source.chunk_size).execute(query)
            names = list(result.keys())
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise DataflowError(
                    f"source.database.query: two columns are named {twice!r}",
                    hint="give one of them an alias: AS …",
                )
            for rows in result.partitions(source.chunk_size):
                yield from_columns(dict(zip(names, zip(*rows, strict=True), strict=True)))
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        lost = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
        raise (TransientError if lost else DataflowError)(
            mask(f"source.database: {engine.url!r}: {reason}"), hint=_hint(engine, source, error)
        ) from None
    except (ValueError, OverflowError) as error:
        # A date of the year 10000 or before Christ, for example, which the driver cannot turn into Python's.
        raise DataflowError(
            mask(f"source.database: {engine.url!r}: a value cannot be read: {error}"),
            hint="cast the column to text in source.database.query",
        ) from None
    finally:
        engine.dispose()


def _engine(source: DatabaseSource) -> sa.Engine:
    try:
        url = sa.make_url(source.url.get_secret_value())
        if url.drivername == "postgres":
            url = url.set(drivername="postgresql")
        # Text as the server has it: parsed and written again, 1.10 would be 1.1.
        options: dict[str, Any] = (
            {"json_deserializer": _as_sent} if url.get_backend_name() == "postgresql" else {}
        )
        try:
            return sa.create_engine(url, **options)
        except ModuleNotFoundError:
            if url.drivername != "postgresql":
                raise
            # The driver that the extra `postgres` brings need not be the one that SQLAlchemy tries first.
            return sa.create_engine(url.set(drivername="postgresql+psycopg2"), **options)
    except (sa.exc.NoSuchModuleError, ImportError) as error:
        reason = f"no driver for this URL is installed: {error}"
        hint = 'for PostgreSQL: pip install "dataflow-runtime[postgres]"; for others, the dialect of SQLAlchemy'
    except (sa.exc.ArgumentError, ValueError, TypeError):
        # The message may quote the URL, password and all.
        reason, hint = (
            "not an SQLAlchemy URL",
            "for example postgresql+psycopg2://user:password@host/database",
        )
    raise DataflowError(mask(f"source.database.url: {reason}"), hint=hint)


def _as_sent(json_text: str | bytes) -> str:
    return json_text if isinstance(json_text, str) else json_text.decode()


def _rows_inside(connection: sa.Connection, source: DatabaseSource, config: WorkflowConfig) -> Any:
    """Return the statement that selects the rows of the run's window, and those without a cursor."""
    if source.query is None:
        rows: Any = sa.table(source.table or "", schema=source.db_schema)
    else:
        # A colon in the user's query is no parameter.
        query = source.query.strip().rstrip(";")
        rows = sa.text(query.replace(":", r"\:"))
    cursor, window = config.processing.cursor, config.window
    if cursor is not None and window is not None:
        inner = sa.text(f"({rows.text}) AS source_rows") if source.query else rows
        column: Any = sa.column(cursor.column)
        sample = connection.execute(
            sa.select(column).select_from(inner).where(column.is_not(None)).limit(1)
        ).scalar()
        kind = config.processing.columns.get(cursor.column, "")
        start, end = _comparable(window.start, sample, kind), _comparable(window.end, sample, kind)
        bounds = [column >= sa.bindparam("start", start)] if start is not None else []
        bounds += [column <= sa.bindparam("end", end)] if end is not None else []
        if bounds:
            condition = sa.or_(sa.and_(*bounds), column.is_(None))
            return sa.select(sa.text("*")).select_from(inner).where(condition)
    return rows if source.query else sa.select(sa.text("*")).select_from(rows)


def _comparable(bound: Any, sample: Any, kind: str) -> Any:
    """Return `bound` as a value that the database compares with the cursor as the pipeline does; None: there is none.

    Text is never compared there: its order is that of a collation, and 9 comes after 10. What this does not exclude,
    the moment of the end above all, the pipeline's own filter does.
    """
    if (
        kind.startswith("epoch_")
        and isinstance(bound, datetime)
        and isinstance(sample, int | float | Decimal)
    ):
        return int(bound.timestamp() // 1) * (1 if kind == "epoch_s" else 1000)
    if isinstance(sample, bool) or isinstance(bound, bool):
        return None
    if isinstance(sample, int | float | Decimal) and isinstance(bound, int | float | Decimal):
        return bound
    if isinstance(sample, date) and isinstance(bound, date):
        moment = (
            bound
            if isinstance(bound, datetime)
            else datetime(bound.year, bound.month, bound.day, tzinfo=UTC)
        )
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        if not isinstance(sample, datetime):
            return moment.date()
        # Times without an offset are UTC.
        return moment if sample.tzinfo else moment.replace(tzinfo=None)
    return None


def _hint(engine: sa.Engine, source: DatabaseSource, error: sa.exc.SQLAlchemyError) -> str:
    if source.table is None or not isinstance(
        error, sa.exc.ProgrammingError | sa.exc.OperationalError
    ):
        return "check source.database"
    try:
        tables = sa.inspect(engine).get_table_names(source.db_schema)
    except sa.exc.SQLAlchemyError:
        return "check source.database.url: host, port, database, user and password"
    if source.table in tables:
        return "check source.database and the rights of its user"
    return (
        did_you_mean(source.table, tables)
        or f"tables there: {', '.join(sorted(tables)[:20]) or 'none'}"
    )
