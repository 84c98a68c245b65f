"""Loads staged rows: the warehouse's own engine reads the Parquet files, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from dataflow_runtime.config import Window, WorkflowConfig
from dataflow_runtime.pipeline.checks import row_keys
from dataflow_runtime.pipeline.load.engine import Engine, sql_type
from dataflow_runtime.pipeline.schema import UNKNOWN, Columns, evolve, refuse_large_integers, scan
from dataflow_runtime.pipeline.staging import StagedRun, files_of
from dataflow_runtime.pipeline.warehouse import (
    column_name,
    exclusive,
    is_missing,
    literal,
    quoted,
    reach,
)

__all__ = [
    "LOAD_ID",
    "condition",
    "connect",
    "count_rows",
    "load",
    "needs_load_id",
    "newest_value",
    "rejected_keys",
    "tables",
]

LOAD_ID = "_load_id"
"""Column of a table that an append without a cursor fills: the load that brought the row."""


def tables(config: WorkflowConfig) -> tuple[str, str]:
    """Return the fully qualified names of the table and of its rejected rows."""
    output = config.output
    return f"{output.schema_}.{output.table}", f"{output.schema_}.{output.rejected_table}"


def needs_load_id(config: WorkflowConfig) -> bool:
    """Return whether only the load that brought a row tells it from another one."""
    return config.output.write_disposition == "append" and config.processing.cursor is None


def newest_value(config: WorkflowConfig, column: str) -> Any:
    """Return the largest value of a column of the loaded table, None where there is none yet."""
    if is_missing(config):
        return None
    with connect(config) as engine:
        return engine.newest(config.output.table, column_name(column))


def rejected_keys(config: WorkflowConfig) -> set[str]:
    """Return the keys of all rows that runs have rejected so far."""
    if is_missing(config):
        return set()
    with connect(config) as engine:
        return engine.keys(config.output.rejected_table, "row_key")


def count_rows(config: WorkflowConfig, names: Mapping[str, str]) -> dict[str, int]:
    """Return the numbers of rows of tables, whose names are given as they are in SQL."""
    if not names:
        return {}
    with connect(config) as engine:
        return {
            key: engine.execute(f"select count(*) from {name}")[0][0] for key, name in names.items()
        }


def load(config: WorkflowConfig, run: StagedRun) -> dict[str, str]:
    """Load the accepted and the rejected rows, and remove rejected rows that are good now.

    It is one transaction: readers see all of the run or nothing of it. A merge replaces rows of the
    same primary key; an append replaces what an earlier try of the same run left. A run of rejected
    rows adds to the table, and takes those it read from the rejected ones.

    Returns:
        The columns of the table with their types in SQL, empty where there is no table.

    Raises:
        DataflowError: The warehouse cannot be reached, or refuses the rows.
    """
    with (
        files_of(run.folder("accepted")) as accepted,
        files_of(run.folder("rejected")) as rejected,
        connect(config) as engine,
    ):
        engine.begin()
        if run.replayed and not _waits(engine, config, run):
            return _columns(engine, config)
        if accepted:
            _load_rows(engine, config, run, accepted)
        if rejected:
            _load_rejected(engine, config, run, accepted, rejected)
        columns = _columns(engine, config)
        engine.commit()
    return columns


@contextmanager
def connect(config: WorkflowConfig) -> Iterator[Engine]:
    """Give a connection to the workflow's warehouse.

    Raises:
        DataflowError: The warehouse cannot be reached.
    """
    # Imported when used: neither driver needs the other.
    if config.output.warehouse == "duckdb":
        from dataflow_runtime.pipeline.load.duckdb import open_warehouse
    else:
        from dataflow_runtime.pipeline.load.postgres import open_warehouse
    with exclusive(config), reach(config), open_warehouse(config) as engine:
        yield engine


def _columns(engine: Engine, config: WorkflowConfig) -> dict[str, str]:
    columns = engine.columns(config.output.table)
    return {name: "other" if kind == UNKNOWN else sql_type(kind) for name, kind in columns.items()}


def _load_rows(engine: Engine, config: WorkflowConfig, run: StagedRun, files: list[str]) -> None:
    table, disposition = config.output.table, config.output.write_disposition
    primary_key = [column_name(name) for name in config.processing.primary_key]
    existing = engine.columns(table)
    found = scan(files).collect_schema()
    if not existing:
        engine.create(table, found)
        engine.copy(table, files)
        if disposition == "merge":
            engine.index(table, primary_key)
        return
    files = _in_types(files, _make_room(engine, config, existing, found))
    if disposition == "merge":
        engine.delete_matching(table, files, primary_key)
    elif run.replayed:
        pass  # nothing of the table came from these rows
    elif disposition == "replace":
        engine.clear(table)
    else:
        engine.delete_where(table, _of_an_earlier_try(config, run, files, existing))
    engine.copy(table, files)


def _make_room(
    engine: Engine, config: WorkflowConfig, existing: Columns, found: Columns
) -> Columns:
    """Add columns and widen others, so that the table holds the rows; return the types to load."""
    table, frozen = config.output.table, config.output.schema_contract == "freeze"
    wider = evolve(tables(config)[0], existing, found, frozen=frozen)
    for name, dtype in wider.items():
        if (existing[name], dtype) == (pl.Int64(), pl.Float64()):
            refuse_large_integers(name, engine.largest(table, name))
        engine.widen(table, name, dtype)
    held = {**existing, **wider}
    for name, dtype in found.items():
        if name not in held:
            engine.add_column(table, name, dtype)
    # A column of a type that the runtime does not make takes the rows' own.
    return {
        name: dtype if held.get(name, UNKNOWN) == UNKNOWN else held[name]
        for name, dtype in found.items()
    }


def _in_types(files: list[str], columns: Columns) -> list[str]:
    """Return files with the same rows in the given types: the same files where they have them."""
    schemas = [pl.read_parquet_schema(file) for file in files]
    if all(list(schema.items()) == list(columns.items()) for schema in schemas):
        return files
    converted = Path(files[0]).with_name("converted")
    scan(files, columns).sink_parquet(converted, compression="lz4")
    return [str(converted)]


def _of_an_earlier_try(
    config: WorkflowConfig, run: StagedRun, files: list[str], existing: Columns
) -> str:
    """Return the SQL condition on the rows that an earlier try of the same run appended."""
    if config.processing.cursor is None:
        return f"{quoted(LOAD_ID)} = {literal(run.load_id)}" if LOAD_ID in existing else "false"
    column = column_name(config.processing.cursor.column)
    newest = scan(files).select(pl.col(column).max()).collect().item()
    return condition(config, run.window, newest)


def condition(config: WorkflowConfig, window: Window | None, newest: Any) -> str:
    """Return the SQL condition on the rows of the table that an append of this window replaces.

    There are some when a load is tried again after it was done, or when a range is filled in again.

    Args:
        config: The workflow's config, with a cursor.
        window: What the run read.
        newest: The newest cursor of the rows to load: rows that other runs loaded since stay.
    """
    cursor = config.processing.cursor
    assert cursor is not None
    column = quoted(column_name(cursor.column))
    bounds = []
    if window is not None and window.start is not None:
        bounds.append(f"{column} {'>' if window.after else '>='} {literal(window.start)}")
    if window is not None and window.end is not None:
        bounds.append(f"{column} < {literal(window.end)}")
    elif newest is None:
        return "1 = 0"
    else:
        bounds.append(f"{column} <= {literal(newest)}")
    return " and ".join(bounds)


def _load_rejected(
    engine: Engine,
    config: WorkflowConfig,
    run: StagedRun,
    accepted: list[str],
    rejected: list[str],
) -> None:
    """Replace what earlier runs rejected of the rows of this run."""
    table, primary_key = config.output.rejected_table, config.processing.primary_key
    existing = engine.columns(table)
    if not existing:
        engine.create(table, scan(rejected).collect_schema())
    elif run.replayed:
        engine.delete_where(table, run.replayed)
    elif config.output.write_disposition == "replace":
        engine.clear(table)
    else:
        engine.delete_matching(table, rejected, ["row_key"])
        known = engine.keys(table, "row_key") if primary_key and accepted else set()
        if known:
            key = row_keys([column_name(name) for name in primary_key])
            good = scan(accepted).select(key).filter(pl.col("row_key").is_in(known))
            corrected = Path(accepted[0]).with_name("corrected")
            good.sink_parquet(corrected)
            engine.delete_matching(table, [str(corrected)], ["row_key"])
    days = config.output.keep_rejected_days
    if existing and days is not None:
        oldest = datetime.now(UTC) - timedelta(days=days)
        engine.delete_where(table, f"rejected_at < {literal(oldest)}")
    engine.copy(table, rejected)


def _waits(engine: Engine, config: WorkflowConfig, run: StagedRun) -> bool:
    """Return whether the rejected rows that a run read are still there: no try has loaded them."""
    return run.extracted > 0 and engine.count(config.output.rejected_table, run.replayed) > 0
