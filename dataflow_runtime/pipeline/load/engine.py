"""What a load asks of a warehouse. The SQL that both warehouses share is here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import polars as pl

from dataflow_runtime.pipeline.schema import UNKNOWN, Columns
from dataflow_runtime.pipeline.warehouse import literal, quoted

__all__ = ["Engine"]

_SQL_TYPES: dict[pl.DataType, str] = {
    pl.Int64(): "bigint",
    pl.Float64(): "double precision",
    pl.String(): "text",
    pl.Boolean(): "boolean",
    pl.Date(): "date",
    pl.Time(): "time",
    pl.Datetime("us", "UTC"): "timestamptz",
    pl.Binary(): "bytea",
}
# As information_schema spells them, in either warehouse.
_TYPES: dict[str, pl.DataType] = {
    **{name: dtype for dtype, name in _SQL_TYPES.items()},
    "double": pl.Float64(),
    "time without time zone": pl.Time(),
    "timestamp with time zone": pl.Datetime("us", "UTC"),
    "varchar": pl.String(),
    "character varying": pl.String(),
    "blob": pl.Binary(),
}


class Engine(ABC):
    """A connection to a warehouse, in the schema of a workflow's raw tables.

    Args:
        schema: The schema's name.
    """

    def __init__(self, schema: str) -> None:
        self.schema = schema

    @abstractmethod
    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""

    @abstractmethod
    def batches(self, query: str, size: int) -> Iterator[pl.DataFrame]:
        """Run a query and yield its rows in frames of about `size` rows."""

    @abstractmethod
    def begin(self) -> None:
        """Begin the transaction; without `commit` it is rolled back when the connection closes."""

    @abstractmethod
    def commit(self) -> None:
        """Commit the transaction."""

    @abstractmethod
    def relation(self, files: Sequence[str]) -> str:
        """Return the SQL that reads the rows of Parquet files, to be put after ``from``."""

    @abstractmethod
    def copy(self, table: str, files: Sequence[str]) -> None:
        """Insert the rows of Parquet files of one schema."""

    @abstractmethod
    def index(self, table: str, key: Sequence[str]) -> None:
        """Make `delete_matching` fast for a few rows of a large table."""

    def name(self, table: str) -> str:
        """Return the qualified and quoted name of a table."""
        return f"{quoted(self.schema)}.{quoted(table)}"

    def columns(self, table: str) -> dict[str, pl.DataType]:
        """Return the types of a table's columns, `UNKNOWN` for those the runtime does not make.

        Empty where there is no table.
        """
        rows = self.execute(
            "select column_name, data_type, numeric_precision::int, numeric_scale::int"
            " from information_schema.columns"
            f" where table_schema = {literal(self.schema)} and table_name = {literal(table)}"
            " order by ordinal_position"
        )
        columns: dict[str, pl.DataType] = {}
        for name, kind, precision, scale in rows:
            if kind.lower().startswith(("decimal", "numeric")) and precision:
                columns[name] = pl.Decimal(precision, scale)
            else:
                columns[name] = _TYPES.get(kind.lower(), UNKNOWN)
        return columns

    def newest(self, table: str, column: str) -> Any:
        """Return the largest value of a column, None where there is no row or no such column."""
        dtype = self.columns(table).get(column)
        if dtype is None:
            return None
        [(value,)] = self.execute(f"select max({quoted(column)}) from {self.name(table)}")
        return Decimal(value) if value is not None and dtype.is_decimal() else value

    def largest(self, table: str, column: str) -> int | None:
        """Return the largest absolute value of a column of integers."""
        [(value,)] = self.execute(f"select max(abs({quoted(column)})) from {self.name(table)}")
        return None if value is None else int(value)

    def count(self, table: str, condition: str) -> int:
        """Return the number of rows for which a condition is true."""
        [(found,)] = self.execute(f"select count(*) from {self.name(table)} where {condition}")
        return int(found)

    def keys(self, table: str, column: str) -> set[str]:
        """Return the distinct values of a text column, an empty set where there is no table."""
        if not self.columns(table):
            return set()
        rows = self.execute(f"select distinct {quoted(column)} from {self.name(table)}")
        return {value for (value,) in rows}

    def create(self, table: str, columns: Columns) -> None:
        """Create a table."""
        definitions = [f"{quoted(name)} {sql_type(dtype)}" for name, dtype in columns.items()]
        self.execute(f"create schema if not exists {quoted(self.schema)}")
        self.execute(f"create table {self.name(table)} ({', '.join(definitions)})")

    def add_column(self, table: str, column: str, dtype: pl.DataType) -> None:
        """Add a column, null in the rows that are there."""
        self.execute(
            f"alter table {self.name(table)} add column {quoted(column)} {sql_type(dtype)}"
        )

    def widen(self, table: str, column: str, dtype: pl.DataType) -> None:
        """Change the type of a column to one that holds all its values."""
        self.execute(
            f"alter table {self.name(table)} alter column {quoted(column)} type {sql_type(dtype)}"
        )

    def clear(self, table: str) -> None:
        """Delete all rows."""
        self.execute(f"delete from {self.name(table)}")

    def delete_where(self, table: str, condition: str) -> None:
        """Delete the rows for which a condition is true."""
        self.execute(f"delete from {self.name(table)} where {condition}")

    def delete_matching(self, table: str, files: Sequence[str], key: Sequence[str]) -> None:
        """Delete the rows whose key is in the files, too."""
        same = [f"held.{quoted(name)} = staged.{quoted(name)}" for name in key]
        self.execute(
            f"delete from {self.name(table)} as held using {self.relation(files)} as staged"
            f" where {' and '.join(same)}"
        )


def sql_type(dtype: pl.DataType) -> str:
    """Return a type's name in SQL."""
    if isinstance(dtype, pl.Decimal):
        return f"numeric({dtype.precision}, {dtype.scale})"
    return _SQL_TYPES[dtype]
