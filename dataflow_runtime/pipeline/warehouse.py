"""Where the warehouse of a workflow is, who may write to it now, and names in it."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError, TransientError
from dataflow_runtime.settings import get_settings

__all__ = [
    "column_name",
    "duckdb_path",
    "exclusive",
    "is_missing",
    "literal",
    "location",
    "postgres_parts",
    "postgres_url",
    "quoted",
    "reach",
]


def duckdb_path(config: WorkflowConfig) -> Path:
    """Return the DuckDB file: ``output.duckdb.path``, or ``$DATAFLOW_HOME/<workflow>.duckdb``."""
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
    """Return the parts of the URL as libpq reads it: the query may name host and port."""
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


def is_missing(config: WorkflowConfig) -> bool:
    """Return whether there is no warehouse yet: the first load creates DuckDB's file."""
    return config.output.warehouse == "duckdb" and not duckdb_path(config).exists()


@contextmanager
def exclusive(config: WorkflowConfig, *, timeout: float = -1) -> Iterator[None]:
    """Hold the warehouse for one step: DuckDB allows one process that writes to a file.

    Raises:
        filelock.Timeout: It was not free for `timeout` seconds; by default there is no limit.
    """
    if config.output.warehouse != "duckdb":
        yield
        return
    import filelock

    path = duckdb_path(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock", is_singleton=True).acquire(timeout=timeout):
        yield


@contextmanager
def reach(config: WorkflowConfig) -> Iterator[None]:
    """Turn a driver's error into one that names the warehouse and what to do."""
    try:
        yield
    except DataflowError:
        raise
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        hint = None
        # DuckDB has no class of its own for this error.
        if "lock" in reason and config.output.warehouse == "duckdb":
            hint = "another program has the DuckDB file open; close it and run again"
        message = mask(f"warehouse {location(config)}: {reason}")
        raise TransientError(message, hint=hint) from error


def column_name(name: str) -> str:
    """Return a column's name in the warehouse: its own, where a warehouse allows it.

    Quotes, semicolons, backslashes and control characters become ``_``. A name longer than the 63
    bytes at which PostgreSQL silently cuts ends in a digest of the whole.
    """
    name = re.sub(r"[;'\"`\\\x00-\x1f]+", "_", name)
    encoded = name.encode()
    if len(encoded) <= 63:
        return name
    return encoded[:54].decode(errors="ignore") + "_" + hashlib.sha256(encoded).hexdigest()[:8]


def quoted(identifier: str) -> str:
    """Return an identifier in SQL, whatever characters are in it."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """Return a text, number or time in SQL."""
    if isinstance(value, int | float | Decimal) and math.isfinite(value):
        return str(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC)
    return "'" + str(value).replace("'", "''") + "'"
