"""Widens the columns of a loaded table before rows come that would not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.schema import conform, evolve
from dataflow_runtime.pipeline.warehouse import duckdb_path, postgres_url, quoted

__all__ = ["make_room"]

Execute = Callable[[str], list[tuple[Any, ...]]]

_TYPES: dict[str, pl.DataType] = {
    "bigint": pl.Int64(),
    "double": pl.Float64(),
    "double precision": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "time": pl.Time(),
    "time without time zone": pl.Time(),
    "timestamp with time zone": pl.Datetime("us", "UTC"),
    "varchar": pl.String(),
    "character varying": pl.String(),
    "text": pl.String(),
    "blob": pl.Binary(),
    "bytea": pl.Binary(),
}


def make_room(config: WorkflowConfig, found: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    """Widen the columns of the workflow's table so that it holds rows of the types `found`; return the types to load.

    It is one transaction. PostgreSQL's views on the table, such as dbt's, are made anew in it.

    Raises:
        DataflowError: A column cannot hold the rows' values, or the table is frozen and would have to change.
    """
    schema, table = config.output.schema_, config.output.table
    with _transaction(config) as execute:
        existing = _columns(execute, schema, table)
        if not existing:
            return dict(found)
        frozen = config.output.schema_contract == "freeze"
        wider = evolve(f"{schema}.{table}", existing, found, frozen=frozen)
        if wider:
            _refuse_large_integers(execute, f"{schema}.{table}", existing, wider)
            views = _views(execute, schema, table) if config.output.warehouse == "postgres" else []
            for name, _ in reversed(views):
                execute(f"drop view {name}")
            # What dlt merges goes through a table of the same columns.
            for place in (schema, f"{schema}_staging"):
                held = _columns(execute, place, table)
                for name, dtype in wider.items():
                    if name in held:
                        execute(
                            f'alter table "{place}"."{table}" alter column {quoted(name)} type {_sql(dtype)}'
                        )
            for name, definition in views:
                execute(f"create view {name} as {definition}")
    return {name: {**existing, **wider}.get(name, dtype) for name, dtype in found.items()}


def _refuse_large_integers(
    execute: Execute,
    table: str,
    existing: Mapping[str, pl.DataType],
    wider: Mapping[str, pl.DataType],
) -> None:
    for name, dtype in wider.items():
        if existing[name] == pl.Int64 and dtype == pl.Float64:
            [(low, high)] = execute(f"select min({quoted(name)}), max({quoted(name)}) from {table}")  # noqa: S608
            conform(pl.DataFrame({name: [low, high]}, schema={name: pl.Int64}), {name: dtype})


def _columns(execute: Execute, schema: str, table: str) -> dict[str, pl.DataType]:
    """Return the types of a table's columns, those left out that the runtime does not make."""
    rows = execute(
        "select column_name, data_type, numeric_precision, numeric_scale from information_schema.columns"  # noqa: S608
        f" where table_schema = '{schema}' and table_name = '{table}'"
    )
    columns: dict[str, pl.DataType] = {}
    for name, kind, precision, scale in rows:
        kind = kind.lower()
        if kind.startswith(("decimal", "numeric")) and precision:
            columns[name] = pl.Decimal(precision, scale)
        elif kind in _TYPES:
            columns[name] = _TYPES[kind]
    return columns


def _views(execute: Execute, schema: str, table: str) -> list[tuple[str, str]]:
    """Return the names and definitions of the views on a table and of those on them, in the order to make them in."""
    return [
        (name, definition)
        for name, definition in execute(
            f"""with recursive dependents (id, depth) as (
                select '"{schema}"."{table}"'::regclass::oid, 0
                union
                select rule.ev_class, depth + 1
                from dependents
                join pg_depend on refobjid = dependents.id and refclassid = 'pg_class'::regclass
                join pg_rewrite as rule on rule.oid = objid and classid = 'pg_rewrite'::regclass
                where rule.ev_class <> dependents.id
            )
            select id::regclass::text, pg_get_viewdef(id)
            from dependents join pg_class on pg_class.oid = id
            where relkind = 'v' group by id order by max(depth)"""  # noqa: S608
        )
    ]


def _sql(dtype: pl.DataType) -> str:
    return (
        f"numeric({dtype.precision}, {dtype.scale})"
        if isinstance(dtype, pl.Decimal)
        else "double precision"
    )


@contextmanager
def _transaction(config: WorkflowConfig) -> Iterator[Execute]:
    if config.output.warehouse == "duckdb":
        import duckdb

        with duckdb.connect(duckdb_path(config)) as connection:
            connection.begin()
            yield lambda statement: connection.execute(statement).fetchall()
            connection.commit()
        return
    import psycopg2

    with (
        closing(psycopg2.connect(postgres_url(config))) as connection,
        connection,
        connection.cursor() as cursor,
    ):

        def execute(statement: str) -> list[tuple[Any, ...]]:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

        yield execute
