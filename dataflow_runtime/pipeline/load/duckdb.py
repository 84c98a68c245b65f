"""DuckDB reads staged Parquet files where they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.load.engine import Engine
from dataflow_runtime.pipeline.warehouse import duckdb_path, literal, quoted

__all__ = ["BOUNDED", "connect", "read_parquet"]

BOUNDED = "set memory_limit = '256MB'; set preserve_insertion_order = false"
"""Keeps DuckDB's memory bounded, whatever the number of rows; it spills to disk beyond."""


@contextmanager
def connect(config: WorkflowConfig) -> Iterator[Engine]:
    """Open the workflow's file."""
    with duckdb.connect(duckdb_path(config)) as connection:
        connection.execute(BOUNDED)
        connection.execute("set timezone = 'UTC'")
        yield _DuckDB(connection, config.output.schema_)


def read_parquet(files: Sequence[str]) -> str:
    """Return the table function that reads the files."""
    return f"read_parquet([{', '.join(map(literal, files))}])"


class _DuckDB(Engine):
    def __init__(self, connection: duckdb.DuckDBPyConnection, schema: str) -> None:
        super().__init__(schema)
        self._connection = connection

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement).fetchall()

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
