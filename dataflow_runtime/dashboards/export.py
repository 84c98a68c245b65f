"""Runs a dashboard's queries in the workflow's warehouse, into Parquet files that Evidence reads.

Evidence could query the warehouses itself. But DuckDB lets no second process read a file while a
run writes to it, and Evidence has another version of DuckDB. So the queries run here, in the runs'
own DuckDB and taking turns with them, or in PostgreSQL. No connection and no password reaches
Evidence.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import duckdb
from filelock import Timeout

from dataflow_runtime.config import ConfigError, WorkflowConfig, config_manager
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.dashboards.model import Dashboard, Problem
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.warehouse import (
    duckdb_path,
    exclusive,
    location,
    postgres_url,
    reach,
)

__all__ = ["export", "write_parquet"]

_WAIT = 60.0
"""Seconds to wait for a run that is writing; then the rows of the last build are shown again."""

# A query to what it yields.
_Read = Callable[[str], duckdb.DuckDBPyRelation | None]

# What DuckDB calls the types that PostgreSQL has under these numbers; all others come as text.
_POSTGRES_TYPES = {
    16: "boolean",
    20: "bigint",
    21: "smallint",
    23: "integer",
    700: "double",
    701: "double",
    1700: "double",
    1082: "date",
    1114: "timestamp",
    1184: "timestamptz",
}


def export(dashboard: Dashboard, data: Path, *, wait: float = _WAIT) -> Dashboard:
    """Run the queries of the workflow's ``evidence/sources/``, each into a Parquet file in `data`.

    Files of queries that are gone are deleted; one whose rows are the same is not touched.

    Returns:
        The dashboard with its rows counted, or with its status and problems.
    """
    data.mkdir(parents=True, exist_ok=True)
    queries = sorted(dashboard.folder.glob("sources/*.sql")) if dashboard.folder else []
    for stale in set(data.glob("*.parquet")) - {
        data / f"{query.stem}.parquet" for query in queries
    }:
        stale.unlink()
    try:
        config = config_manager.load_config(dashboard.name)
        with _warehouse(config, wait) as read:
            return _export(dashboard, config, read, queries, data)
    except _BusyError:
        return _as_before(dashboard, queries, data)
    except ConfigError as error:
        return dashboard.broken(Problem(mask(error.message), dashboard.workflow.config_file))
    except DataflowError as error:
        return dashboard.broken(Problem(mask(error.message)))


class _BusyError(Exception):
    """A run holds the warehouse."""


def _export(
    dashboard: Dashboard, config: WorkflowConfig, read: _Read, queries: list[Path], data: Path
) -> Dashboard:
    rows = _count(read, config, config.output.table)
    problems = []
    for query in queries:
        try:
            write_parquet(read(query.read_text(encoding="utf-8")), data / f"{query.stem}.parquet")
        except Exception as error:
            problems.append(Problem(mask(_message(error)), query, query=query.stem))
    if problems and rows is None:
        return replace(dashboard, status="not run")
    rejected = _count(read, config, f"{config.output.table}_rejected")
    dashboard = replace(dashboard, rows=rows, rejected=rejected)
    return dashboard.broken(*problems)


def _as_before(dashboard: Dashboard, queries: list[Path], data: Path) -> Dashboard:
    """Return the dashboard with the rows of the last build, where that read all its queries."""
    if queries and all((data / f"{query.stem}.parquet").is_file() for query in queries):
        return replace(
            dashboard, note="a run is writing to the warehouse: rows as of the build before"
        )
    return replace(dashboard, status="not run", note="a run is writing to the warehouse")


@contextmanager
def _warehouse(config: WorkflowConfig, wait: float) -> Iterator[_Read]:
    """Open the warehouse for reading; yield a function that runs a query on it."""
    if config.output.warehouse == "postgres":
        with _postgres(config) as read:
            yield read
        return
    path = duckdb_path(config)
    if not path.exists():
        with duckdb.connect() as nothing:
            yield nothing.sql
        return
    try:
        with exclusive(config, timeout=wait), _open(config, path) as connection:
            connection.execute("set timezone = 'UTC'")
            _search(connection, config)
            yield connection.sql
    except Timeout as error:
        raise _BusyError from error


def _open(config: WorkflowConfig, path: Path) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(path, read_only=True)
    except duckdb.IOException as error:
        if "lock" in str(error):
            raise _BusyError from error
        raise DataflowError(f"warehouse {location(config)}: {_message(error)}") from error


def _search(connection: duckdb.DuckDBPyConnection, config: WorkflowConfig) -> None:
    """Let queries name tables without their schemas: the config says what these are called."""
    names = [config.output.marts_schema, config.output.schema_]
    found = connection.execute(
        "select schema_name from duckdb_schemas() where schema_name in (?, ?)", names
    ).fetchall()
    there = [name for name in names if (name,) in found]
    if there:
        connection.execute("set search_path = $1", [",".join(there)])


@contextmanager
def _postgres(config: WorkflowConfig) -> Iterator[_Read]:
    import psycopg2

    with reach(config):
        opened = psycopg2.connect(postgres_url(config))
    with (
        closing(opened) as connection,
        duckdb.connect() as local,
        tempfile.TemporaryDirectory() as folder,
    ):
        # One snapshot for all queries, so that their numbers agree.
        connection.set_session(readonly=True, isolation_level="REPEATABLE READ")
        local.execute("set timezone = 'UTC'")
        files = (Path(folder, f"{number}.csv") for number in count())
        search_path = ",".join((config.output.marts_schema, config.output.schema_))

        def read(query: str) -> duckdb.DuckDBPyRelation:
            query, file = query.strip().rstrip(";"), next(files)
            try:
                with connection.cursor() as cursor, file.open("w", encoding="utf-8") as stream:
                    cursor.execute("set local timezone = 'UTC'; set local datestyle = 'ISO'")
                    cursor.execute("select set_config('search_path', %s, true)", [search_path])
                    cursor.execute(f"select * from ({query}\n) as query limit 0")  # noqa: S608 - the owner's own query
                    types = {
                        column.name: _POSTGRES_TYPES.get(column.type_code, "varchar")
                        for column in cursor.description
                    }
                    cursor.copy_expert(f"copy ({query}\n) to stdout (format csv)", stream)
            except psycopg2.Error:
                connection.rollback()
                raise
            # PostgreSQL quotes an empty text and leaves a null bare.
            return local.read_csv(
                str(file),
                columns=types,
                header=False,
                sep=",",
                quotechar='"',
                escapechar='"',
                allow_quoted_nulls=False,
            )

        yield read


def write_parquet(relation: duckdb.DuckDBPyRelation | None, file: Path) -> None:
    """Write rows as Parquet, in the types that Evidence knows; leave an equal file as it is.

    Raises:
        DataflowError: There is no relation: the statement was no query.
    """
    if relation is None:
        raise DataflowError("it is no query: expected one that starts with select, with or from")
    columns = zip(relation.columns, map(str, relation.types), strict=True)
    draft = file.with_suffix(".draft")
    relation.project(", ".join(_portable(name, kind) for name, kind in columns)).write_parquet(
        str(draft)
    )
    if file.is_file() and file.read_bytes() == draft.read_bytes():
        draft.unlink()
    else:
        draft.replace(file)


def _portable(name: str, kind: str) -> str:
    column = '"' + name.replace('"', '""') + '"'
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"({column} at time zone 'UTC')::timestamp as {column}"
    if kind.startswith(("DECIMAL", "HUGEINT", "UHUGEINT", "UBIGINT")):
        return f"{column}::double as {column}"
    known = (
        "BOOLEAN",
        "DATE",
        "TIMESTAMP",
        "TIMESTAMP_S",
        "TIMESTAMP_MS",
        "DOUBLE",
        "FLOAT",
        "VARCHAR",
    )
    if kind in known or kind.removeprefix("U") in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"):
        return column
    return (
        f"{column}::timestamp as {column}"
        if kind == "TIMESTAMP_NS"
        else f"{column}::varchar as {column}"
    )


def _count(read: _Read, config: WorkflowConfig, table: str) -> int | None:
    """Return how many rows a table of the loaded schema has, None where it does not exist."""
    try:
        relation = read(f'select count(*) from "{config.output.schema_}"."{table}"')  # noqa: S608 - identifiers
        assert relation is not None
        return int(relation.fetchall()[0][0])
    except Exception as error:
        if type(error).__name__ in ("CatalogException", "UndefinedTable", "InvalidSchemaName"):
            return None
        raise DataflowError(f"warehouse {location(config)}: {_message(error)}") from error


def _message(error: Exception) -> str:
    """Return a driver's message on one line, without the query that it repeats below."""
    lines = str(error).strip().split("\n\n")[0].splitlines()
    return (
        " ".join(
            line.strip() for line in lines if not line.startswith("LINE ") and line.strip(" ^")
        )
        or "failed"
    )
