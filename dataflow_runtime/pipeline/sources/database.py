"""The ``database`` source: a table or query of any SQLAlchemy URL, fetched in chunks."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.frames import from_records

__all__ = ["read"]


def read(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield the rows in frames of ``chunk_size`` rows; the server keeps the rest of the result.

    Raises:
        DataflowError: No driver is installed for the URL, the database cannot be reached, or it refuses the query.
    """
    import sqlalchemy as sa

    source = config.source.database
    assert source is not None
    try:
        engine = sa.create_engine(source.url.get_secret_value())
    except (sa.exc.ArgumentError, ImportError) as error:
        # SQLAlchemy's own message may quote the URL, password and all.
        reason = f"no driver: {error}" if isinstance(error, ImportError) else "not an SQLAlchemy URL"
        raise DataflowError(
            f"source.database.url: {reason}", hint="for example postgresql+psycopg2://user:password@host/database"
        ) from None
    if source.query is None:
        table = sa.table(source.table or "", schema=source.db_schema)
        query = str(sa.select(sa.text("*")).select_from(table).compile(engine))
    else:
        query = source.query
    try:
        with engine.connect().execution_options(stream_results=True) as connection:
            # Not sa.text(): a colon in the user's query is no parameter.
            for rows in connection.exec_driver_sql(query).mappings().partitions(source.chunk_size):
                yield from_records(dict(row) for row in rows)
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise DataflowError(f"source.database: {engine.url!r}: {reason}") from None
    finally:
        engine.dispose()
