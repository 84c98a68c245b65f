"""PostgreSQL takes staged Parquet files as Arrow batches, through ADBC's bulk ingest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.load.engine import Engine
from dataflow_runtime.pipeline.warehouse import literal, postgres_url, quoted

__all__ = ["open_warehouse"]

_PIECE = 64 * 1024
"""Bytes: what fits into a socket's buffer, so that the server stores one piece while the next is
encoded."""


@contextmanager
def open_warehouse(config: WorkflowConfig) -> Iterator[Engine]:
    """Open a connection to the server; a database is never created."""
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError as error:
        raise DataflowError(
            f"output.warehouse: a driver of PostgreSQL is missing: {error}",
            hint='pip install "dataflow-runtime[postgres]"',
        ) from None
    with closing(dbapi.connect(postgres_url(config))) as connection:
        yield _Postgres(connection, config.output.schema_, config.output.table)


class _Postgres(Engine):
    def __init__(self, connection: Any, schema: str, table: str) -> None:
        super().__init__(schema)
        self._connection, self._table = connection, table
        self._staged: dict[tuple[str, ...], str] = {}

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def batches(self, query: str, size: int) -> Iterator[pl.DataFrame]:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            for batch in cursor.fetch_record_batch():
                yield from pl.DataFrame(batch).iter_slices(size)

    def begin(self) -> None:
        # Loads of one table wait for each other, from whatever machine.
        lock = literal(f"{self.schema}.{self._table}")
        self.execute(f"select pg_advisory_xact_lock(hashtextextended({lock}, 0))::text")

    def commit(self) -> None:
        self._connection.commit()

    def relation(self, files: Sequence[str]) -> str:
        """Ingest the files into a temporary table, once."""
        if tuple(files) not in self._staged:
            name = f"staged_{len(self._staged)}"
            self._ingest(name, files, mode="create", temporary=True)
            self.execute(f"analyze {name}")
            self._staged[tuple(files)] = name
        return self._staged[tuple(files)]

    def copy(self, table: str, files: Sequence[str]) -> None:
        schema = pl.read_parquet_schema(files[0])
        held = self.columns(table)
        if tuple(files) not in self._staged and all(held[n] == t for n, t in schema.items()):
            self._ingest(table, files, mode="append", db_schema_name=self.schema)
            return
        names = ", ".join(map(quoted, schema))
        rows = self.relation(files)
        self.execute(f"insert into {self.name(table)} ({names}) select {names} from {rows}")

    def clear(self, table: str) -> None:
        self.execute(f"truncate {self.name(table)}")

    def index(self, table: str, key: Sequence[str]) -> None:
        self.execute(f"create index on {self.name(table)} ({', '.join(map(quoted, key))})")

    def widen(self, table: str, column: str, dtype: pl.DataType) -> None:
        views = self._views(table)
        for name, *_ in reversed(views):
            self.execute(f"drop view {name}")
        super().widen(table, column, dtype)
        for name, definition, _ in views:
            self.execute(f"create view {name} as {definition}")

    def _ingest(self, table: str, files: Sequence[str], **options: Any) -> None:
        schema = _as_postgres_reads(pq.read_schema(files[0]))
        rows = pa.RecordBatchReader.from_batches(schema, _pieces(files, schema))
        with self._connection.cursor() as cursor:
            cursor.adbc_ingest(table, rows, **options)

    def _views(self, table: str) -> list[tuple[str, str, bool]]:
        """Return the views on a table and those on them, in the order to create them in.

        Raises:
            DataflowError: One of them has something that a new view would not have.
        """
        views = self.execute(
            f"""
            with recursive dependents (id, depth) as (
                select '{self.name(table)}'::regclass::oid, 0
                union
                select rule.ev_class, depth + 1
                from dependents
                join pg_depend on refobjid = dependents.id and refclassid = 'pg_class'::regclass
                join pg_rewrite as rule on rule.oid = objid and classid = 'pg_rewrite'::regclass
                where rule.ev_class <> dependents.id
            )
            select
                id::regclass::text,
                pg_get_viewdef(id),
                relkind <> 'v' or relacl is not null or reloptions is not null
                or relowner <> current_user::regrole
                or exists (select from pg_description where objoid = id)
                or exists (select from pg_trigger where tgrelid = id)
            from dependents join pg_class on pg_class.oid = id
            where depth > 0
            group by id, relkind, relacl, reloptions, relowner
            order by max(depth)
            """
        )
        for name, _, is_special in views:
            if is_special:
                raise DataflowError(
                    f"a column of {self.schema}.{table} has to change its type, and view {name} "
                    "has grants, comments, options or triggers that would be lost",
                    hint=f"drop view {name}, run again, and create it again (dbt does both for "
                    "its models); nothing was loaded",
                )
        return views


def _as_postgres_reads(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the kinds of text and bytes that ADBC can write."""
    kinds = {
        pa.large_string(): pa.string(),
        pa.string_view(): pa.string(),
        pa.large_binary(): pa.binary(),
        pa.binary_view(): pa.binary(),
    }
    return pa.schema(pa.field(field.name, kinds.get(field.type, field.type)) for field in schema)


def _pieces(files: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=schema.names):
                rows = max(1, batch.num_rows * _PIECE // max(1, batch.nbytes))
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows).cast(schema)
