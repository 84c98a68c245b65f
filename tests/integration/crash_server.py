"""Runs workflows in forked children, which it can kill: a case costs one run and no imports.

A script. Each line on stdin is a case as JSON, each line on stdout its answer:

- case: ``{folder, environ, overrides, kill}``; `folder` is put on ``sys.path``, `kill` is
  ``[step, moment]`` or null;
- answer: ``{signal, moments, report}``; `moments` counts where each step can be killed, `report` is
  the report of the run.

A moment comes before each batch that the workflow's own code passes on, before each statement or
commit sent to a warehouse (by whatever library), and at the end of a step, before Dagster records
it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions


class Moments:
    """Counts the moments of each step, and kills the process at a chosen one."""

    def __init__(self, kill: tuple[str, int] | None) -> None:
        self.counts: Counter[str] = Counter()
        self._step, self._kill = "", kill

    def pass_by(self, *, last: bool = False) -> None:
        """Count one more moment of the current step."""
        if self._step:
            # At its end at the latest: with threads the number of statements varies.
            step, moment = self._kill or ("", 0)
            if step == self._step and (last or moment == self.counts[step]):
                os.kill(os.getpid(), signal.SIGKILL)
            self.counts[self._step] += 1

    def of_step(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function of a step, with a moment at its end."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self._step = step
            result = function(*args, **kwargs)
            self.pass_by(last=True)
            self._step = ""
            return result

        return run

    def before(self, owner: Any, *names: str) -> None:
        """Add a moment before each call of these methods."""
        for name in names:
            setattr(owner, name, self._before(getattr(owner, name)))

    def _before(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.pass_by()
            return original(*args, **kwargs)

        return call

    def take_hold(self) -> None:
        """Patch the steps and the drivers of the warehouses."""
        import duckdb
        from adbc_driver_manager import dbapi

        from dataflow_runtime.orchestration import ops
        from dataflow_runtime.pipeline.steps import Pipeline

        for step in ("extract", "transform", "load"):
            setattr(Pipeline, f"run_{step}", self.of_step(step, getattr(Pipeline, f"run_{step}")))
        ops.build = self.of_step("dbt", ops.build)
        self.before(duckdb.DuckDBPyConnection, "execute", "executemany", "sql", "begin", "commit")
        self.before(dbapi.Cursor, "execute", "adbc_ingest")
        self.before(dbapi.Connection, "commit")
        moments, connect = self, psycopg2.connect  # dbt's

        class Cursor(psycopg2.extensions.cursor):
            pass

        class Connection(psycopg2.extensions.connection):
            def cursor(self, *args: Any, **kwargs: Any) -> Any:
                return super().cursor(*args, **{"cursor_factory": Cursor, **kwargs})

            def commit(self) -> None:
                moments.pass_by()
                super().commit()

        self.before(Cursor, "execute", "executemany", "copy_expert")
        psycopg2.connect = lambda *args, **kwargs: connect(
            *args, **{"connection_factory": Connection, **kwargs}
        )


def run(case: dict[str, Any], answer: Path) -> None:
    """Run a case in this process, which ends with it."""
    os.environ.update(case["environ"])
    sys.path.insert(0, case["folder"])
    importlib.invalidate_caches()
    moments = Moments(tuple(case["kill"]) if case["kill"] else None)
    moments.take_hold()
    from orders import chaos

    from dataflow_runtime import run_workflow

    chaos.on_batch = moments.pass_by
    report = run_workflow("orders", overrides=case["overrides"])
    modules = [name for name in sys.modules if name.split(".")[0] != "orders"]
    answer.write_text(
        json.dumps({"moments": moments.counts, "report": report.to_json(), "modules": modules})
    )


def import_all(modules: Iterable[str]) -> None:
    """Import what a run has imported, so that the next one need not."""
    for name in modules:
        if name not in sys.modules:
            with suppress(Exception):
                importlib.import_module(name)


def serve() -> None:
    """Answer cases until stdin ends."""
    for line in sys.stdin:
        case = json.loads(line)
        answer = Path(case["folder"]).with_name("answer.json")
        answer.unlink(missing_ok=True)
        child = os.fork()
        if not child:
            status = 1
            try:
                # stdout is the answers'.
                os.dup2(2, 1)
                run(case, answer)
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, outcome = os.waitpid(child, 0)
        found = json.loads(answer.read_text()) if answer.exists() else {}
        import_all(found.pop("modules", ()))
        signal_number = os.WTERMSIG(outcome) if os.WIFSIGNALED(outcome) else 0
        print(json.dumps({"signal": signal_number, **found}), flush=True)  # noqa: T201


if __name__ == "__main__":
    # Imported once; nothing of it may start threads before a fork, so nothing of it is used here.
    for module in (
        "dagster",
        "dagster_dbt",
        "dbt.cli.main",
        "adbc_driver_postgresql.dbapi",
        "duckdb",
        "polars",
        "psycopg2",
    ):
        importlib.import_module(module)
    importlib.import_module("dbt.adapters.duckdb")
    importlib.import_module("dbt.adapters.postgres")
    importlib.import_module("dataflow_runtime.orchestration.run")
    serve()
