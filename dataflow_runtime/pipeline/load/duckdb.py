"""DuckDB reads staged Parquet files where they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.checks import REJECTED_SCHEMA
from dataflow_runtime.pipeline.load.engine import Engine
from dataflow_runtime.pipeline.schema import Columns
from dataflow_runtime.pipeline.warehouse import duckdb_path, literal, quoted

__all__ = ["BOUNDED", "create_tables", "open_warehouse", "read_parquet"]

BOUNDED = "set memory_limit = '256MB'; set preserve_insertion_order = false"
"""Keeps DuckDB's memory bounded, whatever the number of rows; it spills to disk beyond."""


@contextmanager
def open_warehouse(config: WorkflowConfig) -> Iterator[Engine]:
    """Open the workflow's file."""
    with duckdb.connect(duckdb_path(config)) as connection:
        connection.execute(BOUNDED)
        connection.execute("set timezone = 'UTC'")
        yield _DuckDB(connection, config.output.schema_)


def create_tables(config: WorkflowConfig, file: Path, columns: Columns) -> None:
    """Create the raw tables of a workflow, without rows, in a new file."""
    rejected = {**REJECTED_SCHEMA, "run_id": pl.String(), "rejected_at": pl.Datetime("us", "UTC")}
    with duckdb.connect(file) as connection:
        engine = _DuckDB(connection, config.output.schema_)
        engine.create(config.output.table, columns)
        engine.create(config.output.rejected_table, rejected)


def read_parquet(files: Sequence[str]) -> str:
    """Return the table function that reads the files."""
    return f"read_parquet([{', '.join(map(literal, files))}])"


class _DuckDB(Engine):
    def __init__(self, connection: duckdb.DuckDBPyConnection, schema: str) -> None:
        super().__init__(schema)
        self._connection = connection

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement).fetchall()

    def batches(self, query: str, size: int) -> Iterator[pl.DataFrame]:
        for batch in self._connection.execute(query).to_arrow_reader(size):
            yield pl.DataFrame(batch)

    def begin(self) -> None:
        self._connection.begin()

    def commit(self) -> None:
        self._connection.commit()

    def relation(self, files: Sequence[str]) -> str:
        return read_parquet(files)

    def index(self, table: str, key: Sequence[str]) -> None:
        # DuckDB scans the columns of a key faster than it maintains an index.
        pass

    def copy(self, table: str, files: Sequence[str]) -> None:
        names = ", ".join(map(quoted, pl.read_parquet_schema(files[0])))
        rows = read_parquet(files)
        self.execute(f"insert into {self.name(table)} ({names}) select {names} from {rows}")
