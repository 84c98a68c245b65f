"""Where the rows land: the one place that knows how to reach DuckDB and PostgreSQL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.errors import DataflowError, TransientError
from dataflow_runtime.settings import get_settings

__all__ = [
    "column_name",
    "destination",
    "duckdb_path",
    "exclusive",
    "forget_rejected",
    "location",
    "newest_value",
    "postgres_parts",
    "postgres_url",
    "quoted",
    "reach",
    "rejected_keys",
]


def duckdb_path(config: WorkflowConfig) -> Path:
    """Return the workflow's DuckDB file: ``output.duckdb.path``, by default ``$DATAFLOW_HOME/<workflow>.duckdb``."""
    path = config.output.duckdb.path
    home = get_settings().home
    return home / (Path(path).expanduser() if path else f"{config.workflow}.duckdb")


def postgres_url(config: WorkflowConfig) -> str:
    """Return the connection URL of PostgreSQL, password included: for drivers, never for output."""
    assert config.output.postgres is not None
    return config.output.postgres.url.get_secret_value()


@dataclass(frozen=True)
class PostgresParts:
    """A PostgreSQL URL taken apart; `host` is a folder where the connection is a Unix socket."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    options: dict[str, str]


def postgres_parts(config: WorkflowConfig) -> PostgresParts:
    """Return the parts of the PostgreSQL URL, as libpq understands it: the query may name host and port."""
    url = urlsplit(postgres_url(config))
    options = dict(parse_qsl(url.query))
    return PostgresParts(
        host=options.pop("host", "") or unquote(url.hostname or "localhost"),
        port=int(options.pop("port", "") or url.port or 5432),
        user=unquote(url.username or "postgres"),
        password=unquote(url.password or ""),
        database=unquote(url.path.lstrip("/")) or "postgres",
        options=options,
    )


def location(config: WorkflowConfig) -> str:
    """Return where the warehouse is, in words that hold no secret."""
    if config.output.warehouse == "duckdb":
        return str(duckdb_path(config))
    parts = postgres_parts(config)
    return f"postgresql://{parts.host}:{parts.port}/{parts.database}"


def destination(config: WorkflowConfig) -> Any:
    """Return the dlt destination. Whatever the disposition, a load into it is one transaction."""
    if config.output.warehouse == "duckdb":
        import dlt

        # Of its own accord dlt deletes and inserts in two transactions, and empties a table that it is to replace: a
        # killed run would leave a table without rows.
        return dlt.destinations.duckdb(
            str(duckdb_path(config)),
            supports_transactions=True,
            replace_strategy="insert-from-staging",
        )
    try:
        from dlt.destinations.impl.postgres.configuration import PostgresCredentials

        from dataflow_runtime.pipeline.postgres import Postgres
    except ImportError as error:
        raise DataflowError(
            f"output.warehouse: a driver of PostgreSQL is missing: {error}",
            hint='pip install "dataflow-runtime[postgres]"',
        ) from None

    parts = postgres_parts(config)
    credentials = PostgresCredentials()
    credentials.username, credentials.database, credentials.port = (
        parts.user,
        parts.database,
        parts.port,
    )
    # dlt insists on a host name and a password, where libpq has a socket's folder or trusts its user.
    credentials.password = parts.password or "none"
    credentials.host = "localhost" if parts.host.startswith("/") else parts.host
    credentials.query = {
        **parts.options,
        **({"host": parts.host} if parts.host.startswith("/") else {}),
    }
    credentials.resolve()
    return Postgres(credentials, supports_transactions=True, replace_strategy="truncate-and-insert")


@contextmanager
def exclusive(config: WorkflowConfig, *, timeout: float = -1) -> Iterator[None]:
    """Hold the warehouse for one step. DuckDB allows one writing process a file, so others wait here for their turn.

    Raises:
        filelock.Timeout: It was not free for `timeout` seconds; by default they wait for as long as it takes.
    """
    if config.output.warehouse != "duckdb":
        yield
        return
    import filelock

    path = duckdb_path(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock", is_singleton=True).acquire(timeout=timeout):
        yield


def newest_value(config: WorkflowConfig, column: str) -> Any:
    """Return the largest value of a column of the loaded table, None while there is no table or no row."""
    rows = _rows(config, f"select max({quoted(column_name(column))}) from", config.output.table)
    return rows[0][0] if rows else None


def rejected_keys(config: WorkflowConfig) -> set[str]:
    """Return the keys of all rows that runs have rejected so far."""
    return {
        key for (key,) in _rows(config, "select row_key from", f"{config.output.table}_rejected")
    }


def forget_rejected(config: WorkflowConfig, keys: Sequence[str]) -> None:
    """Delete rows from the table of rejected ones, by their keys."""
    table = f"{config.output.table}_rejected"
    if config.output.warehouse == "duckdb":
        _rows(config, "delete from", table, "where row_key in (select unnest(?))", [list(keys)])
    else:
        _rows(config, "delete from", table, "where row_key = any(%s)", [list(keys)])


def _rows(
    config: WorkflowConfig,
    query: str,
    table: str,
    condition: str = "",
    parameters: Sequence[Any] = (),
) -> list[tuple[Any, ...]]:
    """Return what a statement on a table of the loaded schema yields; nothing while the table does not exist."""
    statement = f"{query} {quoted(config.output.schema_)}.{quoted(table)} {condition}"
    if config.output.warehouse == "duckdb":
        import duckdb

        path = duckdb_path(config)
        if not path.exists():
            return []
        with exclusive(config), reach(config), duckdb.connect(path) as connection:
            connection.execute("set timezone = 'UTC'")
            try:
                return connection.execute(statement, parameters).fetchall()
            except duckdb.CatalogException:
                return []
    import psycopg2

    with reach(config), closing(psycopg2.connect(postgres_url(config))) as connection:
        connection.autocommit = True  # a single statement is a transaction of its own
        cursor = connection.cursor()
        cursor.execute("set timezone = 'UTC'")
        try:
            cursor.execute(statement, parameters)
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName):
            return []
        return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def reach(config: WorkflowConfig) -> Iterator[None]:
    """Turn a driver's error about the warehouse into one that names the warehouse and what to do."""
    try:
        yield
    except DataflowError:
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, DataflowError):  # of the rows, which are made ready as they are loaded
            raise cause from error
        reason = next(
            (line for line in str(cause).splitlines() if line.strip()), type(cause).__name__
        )
        hint = None
        if "lock" in reason and config.output.warehouse == "duckdb":
            hint = "another program has the DuckDB file open; close it and run again"
        raise TransientError(f"warehouse {location(config)}: {reason}", hint=hint) from error


def column_name(name: str) -> str:
    """Return a column's name in the warehouse: its own, as far as one can have it.

    Quotes, semicolons, backslashes and control characters become ``_``; what is longer than PostgreSQL's 63 bytes,
    which it would cut off without a word, ends in a digest of the whole.
    """
    name = re.sub(r"[;'\"`\\\x00-\x1f]+", "_", name)
    encoded = name.encode()
    if len(encoded) <= 63:
        return name
    return encoded[:54].decode(errors="ignore") + "_" + hashlib.sha256(encoded).hexdigest()[:8]


def quoted(identifier: str) -> str:
    """Return an identifier as SQL has it, whatever stands in it."""
    return '"' + identifier.replace('"', '""') + '"'
