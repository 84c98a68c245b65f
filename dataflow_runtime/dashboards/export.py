"""Reads the rows of a dashboard's queries into Parquet files, which are what its pages query.

Evidence could ask the warehouses itself. But DuckDB lets no second process read a file while a run
writes to it, and Evidence's DuckDB is older than the runs'. So the queries run here, in the runs'
own DuckDB and in turn with them, or in PostgreSQL; Evidence sees neither a connection nor a
password.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from filelock import Timeout

from dataflow_runtime.config import ConfigError, WorkflowConfig, config_manager
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.dashboards.model import Dashboard, DashboardProblem
from dataflow_runtime.errors import DataflowError, TransientError
from dataflow_runtime.pipeline.warehouse import (
    duckdb_path,
    exclusive,
    location,
    postgres_url,
    quoted,
    reach,
)

__all__ = ["export", "write_table"]

_WAIT = 60.0
"""Seconds to wait for a run that is writing; then the site keeps the rows of the last build."""

_MANY_ROWS = 100_000
"""Rows of one query that a browser handles without a noticeable wait."""

_WEEK = timedelta(days=7)

_Read = Callable[[str], duckdb.DuckDBPyRelation | None]
"""Runs a query; returns None for a statement that has no result."""

_NO_SUCH_TABLE = ("42P01", "3F000")
"""PostgreSQL's codes for a table and for a schema that does not exist."""


def export(dashboard: Dashboard, data: Path, *, wait: float = _WAIT) -> Dashboard:
    """Run the queries of the workflow's ``evidence/sources/``; write a table for each into `data`.

    Tables of deleted queries are deleted; one with the same rows is not touched. A warehouse that
    cannot be read leaves the tables, and the numbers that belong to them, as they are.

    Returns:
        The dashboard with its rows counted, or with why it has nothing to show.
    """
    data.mkdir(parents=True, exist_ok=True)
    queries = sorted(dashboard.folder.glob("sources/*.sql"))
    for stale in {path.name for path in data.glob("*/")} - {query.stem for query in queries}:
        shutil.rmtree(data / stale)
    try:
        config = config_manager.load_config(dashboard.name)
        timezone, max_age = config.schedule.timezone, config.max_age
        dashboard = replace(dashboard, timezone=timezone, max_age=max_age)
        with _warehouse(config, wait) as read:
            dashboard = _export(dashboard, config, read, queries, data)
    except Timeout:
        dashboard = replace(dashboard, unread="a run was writing to the warehouse")
    except TransientError as error:
        problem = DashboardProblem(mask(error.message))
        dashboard = replace(dashboard, unread=problem.message, problems=[problem])
    except ConfigError as error:
        problem = DashboardProblem(mask(error.message), dashboard.workflow.config_file)
        return dashboard.broken(problem)
    except DataflowError as error:
        return dashboard.broken(DashboardProblem(mask(error.message)))
    dashboard = _with_readings(dashboard, data / "readings.json")
    if dashboard.unread and not all((data / query.stem).is_dir() for query in queries):
        return replace(dashboard, status="unread")
    return dashboard


def _export(
    dashboard: Dashboard, config: WorkflowConfig, read: _Read, queries: list[Path], data: Path
) -> Dashboard:
    rows = _count(read, config, config.output.table)
    problems, warnings = [], []
    for query in queries:
        try:
            count = write_table(read(query.read_text(encoding="utf-8")), data / query.stem)
        except Exception as error:
            problems.append(DashboardProblem(mask(_message(error)), query, query=query.stem))
            continue
        if count > _MANY_ROWS:
            warnings.append(
                f"{query}: {count:,} rows, and a reader's browser may load them all: aggregate"
                f" them in the query, or limit it to {_MANY_ROWS:,} rows"
            )
    if rows is None and problems:
        return replace(dashboard, status="not run")
    rejected = _count(read, config, config.output.rejected_table)
    dashboard = replace(dashboard, rows=rows, rejected=rejected, warnings=warnings)
    return replace(dashboard, as_of=datetime.now(UTC)).broken(*problems)


def _with_readings(dashboard: Dashboard, file: Path) -> Dashboard:
    """Record what was read, and return the dashboard with what earlier builds recorded.

    The record is beside the tables, so that it always belongs to them.
    """
    readings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    if dashboard.as_of is not None:
        readings.append([dashboard.as_of.isoformat(), dashboard.rows, dashboard.rejected])
    if not readings:
        return replace(dashboard, status="unread") if dashboard.unread else dashboard
    start = datetime.fromisoformat(readings[-1][0]) - _WEEK
    kept = [reading for reading in readings if datetime.fromisoformat(reading[0]) > start]
    file.write_text(json.dumps(kept), encoding="utf-8")
    if dashboard.unread is not None:
        time, rows, rejected = kept[-1]
        as_of = datetime.fromisoformat(time)
        dashboard = replace(dashboard, as_of=as_of, rows=rows, rejected=rejected)
    before = replace(dashboard, rows=kept[0][1], rejected=kept[0][2]).rejected_share
    return replace(dashboard, rejected_before=before if len(kept) > 1 else None)


@contextmanager
def _warehouse(config: WorkflowConfig, wait: float) -> Iterator[_Read]:
    """Open the warehouse for reading; yield a function that runs a query in it."""
    if config.output.warehouse == "postgres":
        with _postgres(config) as read:
            yield read
        return
    path = duckdb_path(config)
    if not path.exists():
        with duckdb.connect() as nothing:
            yield nothing.sql
        return
    with exclusive(config, timeout=wait):
        with reach(config):
            opened = duckdb.connect(path, read_only=True)
        with opened as connection:
            connection.execute("set timezone = 'UTC'")
            # A query names a table alone: the config says what the schemas are called.
            schemas = [config.output.marts_schema, config.output.schema_]
            found = connection.execute("select schema_name from duckdb_schemas()").fetchall()
            existing = [schema for schema in schemas if (schema,) in found]
            connection.execute("set search_path = $1", [",".join([*existing, "main"])])
            yield connection.sql


@contextmanager
def _postgres(config: WorkflowConfig) -> Iterator[_Read]:
    from adbc_driver_postgresql import dbapi

    with reach(config):
        opened = dbapi.connect(postgres_url(config))
    schemas = (config.output.marts_schema, config.output.schema_)
    with opened as connection, connection.cursor() as cursor, duckdb.connect() as local:
        local.execute("set timezone = 'UTC'")
        # One snapshot for all queries, so that their numbers agree.
        transaction = "transaction isolation level repeatable read, read only"
        cursor.execute(f"set session characteristics as {transaction}")
        cursor.execute("set timezone = 'UTC'")
        cursor.execute(f"set search_path = {', '.join(map(quoted, schemas))}")
        connection.commit()

        def read(query: str) -> duckdb.DuckDBPyRelation:
            try:
                # The driver puts the query into parentheses: a comment at its end needs a line.
                cursor.execute(query.strip().rstrip(";") + "\n")
                table = cursor.fetch_arrow_table()
            except dbapi.Error:
                connection.rollback()  # PostgreSQL refuses everything else in this transaction
                raise
            kinds = {field.name: getattr(field.type, "type_name", None) for field in table.schema}
            numbers = [quoted(name) for name, kind in kinds.items() if kind == "numeric"]
            casts = ", ".join(f"{name}::double as {name}" for name in numbers)
            return local.from_arrow(table).project(f"* replace ({casts})" if casts else "*")

        yield read


def write_table(relation: duckdb.DuckDBPyRelation | None, folder: Path) -> int:
    """Write rows as the one Parquet file in `folder`, in the few types that Evidence knows.

    The file's name holds a digest of its content, so that browsers may keep it for ever.

    Returns:
        The number of rows.

    Raises:
        DataflowError: There is no relation: the statement was not a query.
    """
    if relation is None:
        raise DataflowError("not a query: expected one that starts with select, with or from")
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "draft.parquet"
    columns = zip(relation.columns, map(str, relation.types), strict=True)
    relation.project(", ".join(_portable(*column) for column in columns)).write_parquet(str(draft))
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()[:16]
    for other in folder.glob("*/"):
        if other.name != digest:
            shutil.rmtree(other)
    target = folder / digest / f"{folder.name}.parquet"
    target.parent.mkdir(exist_ok=True)
    if not target.exists():
        shutil.copyfile(draft, target)
    draft.unlink()
    return duckdb.read_parquet(str(target)).shape[0]


def _portable(name: str, kind: str) -> str:
    """Return the projection of a column to a type that Evidence knows."""
    column, base = quoted(name), kind.partition("(")[0]
    if base == "TIMESTAMP WITH TIME ZONE":
        return f"({column} at time zone 'UTC')::timestamp as {column}"
    if base == "DATE" or base.startswith("TIMESTAMP"):
        return f"{column}::timestamp as {column}"
    if base in ("DECIMAL", "FLOAT", "DOUBLE", "INTEGER", "UINTEGER") or base.endswith("INT"):
        return f"{column}::double as {column}"
    return column if base == "BOOLEAN" else f"{column}::varchar as {column}"


def _count(read: _Read, config: WorkflowConfig, table: str) -> int | None:
    """Return how many rows a loaded table has, None if it does not exist."""
    try:
        name = f"{quoted(config.output.schema_)}.{quoted(table)}"
        relation = read(f"select count(*) from {name}")  # noqa: S608 - quoted above
        assert relation is not None
        return int(relation.fetchall()[0][0])
    except Exception as error:
        unknown = getattr(error, "sqlstate", None) in _NO_SUCH_TABLE
        if unknown or isinstance(error, duckdb.CatalogException):
            return None
        raise DataflowError(f"warehouse {location(config)}: {_message(error)}") from error


def _message(error: Exception) -> str:
    """Return a driver's message on one line, without the query that it repeats."""
    details = dict(getattr(error, "details", ()))
    if b"PG_DIAG_MESSAGE_PRIMARY" in details:
        return str(details[b"PG_DIAG_MESSAGE_PRIMARY"], "utf-8", "replace")
    lines = str(error).strip().split("\n\n")[0].splitlines()
    kept = [line.strip() for line in lines if not line.startswith("LINE ") and line.strip(" ^")]
    return " ".join(kept) or "failed"
