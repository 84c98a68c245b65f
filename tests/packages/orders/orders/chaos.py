"""Kills the process where ``ORDERS_KILL`` says: what ``kill -9`` does, at a moment that is the same every time.

``extract``, ``transform``: in the midst of this step. ``load:N``, ``dbt:N``: before the N-th statement that the step
sends to the warehouse. ``commit:N``: before the N-th commit of the load. ``loaded``, ``built``: when all of it is done,
before the step is recorded as done.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLACE, _, COUNT = os.environ.get("ORDERS_KILL", "").partition(":")


def kill_at(place: str) -> None:
    if place == PLACE:
        # Of its process group only: a process that is not the leader of one is no process to kill.
        os.killpg(os.getpid(), signal.SIGKILL)


def _kill_before(owner: Any, name: str) -> None:
    original, left = getattr(owner, name), [int(COUNT)]

    def method(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            kill_at(PLACE)
        return original(*args, **kwargs)

    setattr(owner, name, method)


def _kill_after(owner: Any, name: str) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    def method(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        kill_at(PLACE)
        return result

    setattr(owner, name, method)


if PLACE == "load":
    from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

    _kill_before(DuckDbSqlClient, "execute_query")
elif PLACE == "commit":
    from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

    _kill_before(DuckDbSqlClient, "commit_transaction")
elif PLACE == "dbt":
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    _kill_before(DuckDBConnectionManager, "execute")
elif PLACE == "loaded":
    from dlt import Pipeline

    _kill_after(Pipeline, "run")
elif PLACE == "built":
    from dbt.cli.main import dbtRunner

    _kill_after(dbtRunner, "invoke")


def wait_for_a_word() -> None:
    """Say that the process is here, in the folder ``ORDERS_WAIT``, and go on once there is a file ``go`` in it."""
    if folder := os.environ.get("ORDERS_WAIT"):
        Path(folder, f"here-{os.getpid()}").touch()
        deadline = time.monotonic() + 60
        while not Path(folder, "go").exists():
            if time.monotonic() > deadline:
                raise TimeoutError("nobody said go")
            time.sleep(0.02)
