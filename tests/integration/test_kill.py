"""``kill -9`` at any moment, then the same command again: the tables of an undisturbed run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest

pytestmark = pytest.mark.e2e

Content = dict[str, list[tuple[Any, ...]]]

SETTINGS: dict[str, dict[str, Any]] = {
    "merge": {"output.write_disposition": "merge"},
    "append": {"output.write_disposition": "append"},
    "replace": {"output.write_disposition": "replace"},
}
# The source at the second run. An append has no key that identifies the rows already loaded.
LATER = {"merge": "orders_later.csv", "append": "orders_more.csv", "replace": "orders_later.csv"}

# Step, position in it (0: its first moment, 1: its end), and whether it is the very first run.
PLACES = [
    *(("extract", where, False) for where in (0, 0.5, 1)),
    *(("transform", where, False) for where in (0, 0.5, 1)),
    *(("load", where, False) for where in (0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1)),
    *(("load", where, True) for where in (0.25, 0.6, 0.95)),
    *(("dbt", where, False) for where in (0, 0.3, 0.6, 1)),
    ("dbt", 0.5, True),
]


EVERY = list(product(["duckdb", "postgres"], SETTINGS, PLACES))
# Each place in each warehouse, and each disposition at a third of the places; `nox -s kill` sets
# the variable and tries every combination.
SOME = [
    case
    for number, case in enumerate(product(["duckdb", "postgres"], PLACES, SETTINGS))
    if number % len(SETTINGS) == number // len(SETTINGS) % len(SETTINGS)
]
CASES = (
    EVERY
    if os.environ.get("KILL_CASES") == "all"
    else [(warehouse, disposition, place) for warehouse, place, disposition in SOME]
)


@dataclass
class State:
    """What a run left behind.

    Attributes:
        home: A copy of ``DATAFLOW_HOME``.
        database: A PostgreSQL database that nothing writes to any more.
        content: The rows of every table.
        moments: How often each step of the run could have been killed.
    """

    home: Path
    database: str
    content: Content
    moments: dict[str, int]


@dataclass
class Crashes:
    """A worker's process that runs `orders`; each case gets a new home and database."""

    folder: Path
    url: str
    process: subprocess.Popen[str]
    states: dict[tuple[str, str], tuple[State, State]] = field(default_factory=dict)

    def run(
        self, warehouse: str, disposition: str, file: str, kill: tuple[str, int] | None = None
    ) -> Any:
        """Run the workflow, or kill it; return what the server answers."""
        settings = {} if warehouse == "duckdb" else {"output.postgres.url": self._url("orders")}
        case = {
            "folder": str(self.folder / "site"),
            "environ": {"DATAFLOW_HOME": str(self.home), "ORDERS_FILE": file},
            "overrides": {"output.warehouse": warehouse, **settings, **SETTINGS[disposition]},
            "kill": kill,
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    @property
    def home(self) -> Path:
        # Always the same place: dbt parses a project again whose profile has changed.
        return self.folder / "home"

    def begin(self, state: State | None) -> None:
        """Put the home and the database into the given state, None for empty ones."""
        shutil.rmtree(self.home, ignore_errors=True)
        if state is not None:
            shutil.copytree(state.home, self.home)
        self._admin("drop database if exists orders with (force)")
        self._admin(
            f"create database orders template {state.database if state else 'template0'}"
            " strategy file_copy"
        )

    def keep(self, name: str, warehouse: str, moments: dict[str, int]) -> State:
        """Return the present state, which stays as it is."""
        shutil.copytree(self.home, self.folder / name)
        self._admin(f"create database {name} template orders strategy file_copy")
        return State(self.folder / name, name, self.content(warehouse), moments)

    def undisturbed(self, warehouse: str, disposition: str) -> tuple[State, State]:
        """Return what a first run leaves, and what a second one does; made once a worker."""
        if (warehouse, disposition) not in self.states:
            found: list[State] = []
            for number, file in enumerate(("orders.csv", LATER[disposition])):
                if number == 0:
                    self.begin(None)
                    for (kind, _), (
                        first,
                        _,
                    ) in self.states.items():  # Dagster's and dbt's own state take time to make
                        if kind == warehouse:
                            for part in ("dagster", "dbt"):
                                shutil.copytree(
                                    first.home / part, self.home / part, dirs_exist_ok=True
                                )
                answer = self.run(warehouse, disposition, file)
                assert answer["report"]["error"] is None
                found.append(
                    self.keep(f"{warehouse}_{disposition}_{number}", warehouse, answer["moments"])
                )
            self.states[warehouse, disposition] = (found[0], found[1])
        return self.states[warehouse, disposition]

    def content(self, warehouse: str) -> Content:
        """Return the rows of every table and model, without the columns about their load."""
        with closing(self._reader(warehouse)) as cursor:
            cursor.execute(
                "select table_schema, table_name,"
                " string_agg('\"' || column_name || '\"', ', ' order by column_name)"
                " from information_schema.columns"
                " where table_schema in ('orders_raw', 'orders_marts')"
                " and left(table_name, 1) <> '_' and left(column_name, 1) <> '_'"
                " and column_name not in ('run_id', 'rejected_at') group by 1, 2"
            )
            content: Content = {}
            for schema, table, columns in cursor.fetchall():
                cursor.execute(f"select {columns} from {schema}.{table}")
                content[f"{schema}.{table}"] = sorted(cursor.fetchall(), key=repr)
            return content

    def _reader(self, warehouse: str) -> Any:
        if warehouse == "duckdb":
            file = self.home / "orders.duckdb"
            connection = duckdb.connect(str(file) if file.exists() else ":memory:")
        else:
            connection = psycopg2.connect(self._url("orders")).cursor()
        connection.execute("set timezone = 'UTC'")
        return connection

    def _url(self, database: str) -> str:
        return self.url.replace("/postgres?", f"/{database}?")

    def _admin(self, statement: str) -> None:
        with closing(psycopg2.connect(self.url)) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)


@pytest.fixture(scope="module")
def crashes(
    postgres: str, tmp_path_factory: pytest.TempPathFactory, site_type: Any
) -> Iterator[Crashes]:
    folder = tmp_path_factory.mktemp("crashes")
    site = site_type(folder / "site", folder / "unused")
    site.install("orders")
    server = Path(__file__).with_name("crash_server.py")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=site.environ,
            cwd=folder,
        )
        yield Crashes(folder, postgres, process)
        process.communicate()


@pytest.mark.parametrize(("warehouse", "disposition", "place"), CASES)
def test_killed_and_run_again(
    crashes: Crashes, warehouse: str, disposition: str, place: tuple[str, float, bool]
) -> None:
    step, where, first = place
    states = crashes.undisturbed(warehouse, disposition)
    before, after = (None, states[0]) if first else states
    file = "orders.csv" if first else LATER[disposition]
    crashes.begin(before)

    killed = crashes.run(
        warehouse, disposition, file, (step, round(where * (after.moments[step] - 1)))
    )
    assert killed == {"signal": 9}
    between = crashes.content(warehouse)
    for table in ("orders_raw.orders", "orders_raw.orders_rejected"):
        old = before.content[table] if before else []
        assert between.get(table, []) in (old, after.content[table]), (
            "neither the old rows nor the new ones"
        )

    again = crashes.run(warehouse, disposition, file)
    assert again["signal"] == 0
    assert again["report"]["error"] is None
    assert crashes.content(warehouse) == after.content
