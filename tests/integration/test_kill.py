"""``kill -9`` at any moment, then the same command again: every row once, nothing half loaded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

pytestmark = pytest.mark.e2e

LATER = {"ORDERS_FILE": "orders_later.csv"}


def content(home: Path) -> dict[str, list[Any]]:
    """Return the rows of every table and model, without what says when and by which run they were loaded."""
    if not (home / "orders.duckdb").exists():
        return {}
    with duckdb.connect(home / "orders.duckdb", read_only=True) as connection:
        found = connection.execute(
            "select table_schema, table_name from information_schema.tables"
            " where table_schema in ('orders_raw', 'orders_marts') and table_name not like '\\_dlt%' escape '\\'"
        ).fetchall()
        return {
            f"{schema}.{table}": connection.execute(
                f"select columns(name -> name not in ('run_id', 'rejected_at', '_dlt_load_id', '_dlt_id'))"
                f" from {schema}.{table} order by all"
            ).fetchall()
            for schema, table in found
        }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, site_type: Any) -> Any:
    """The home after a first run, and the warehouse's content after that one and after a second, of later rows."""
    folder = tmp_path_factory.mktemp("undisturbed")
    site = site_type(folder / "site", folder / "home")
    site.install("orders")
    site.python(
        "import os, shutil\n"
        "from dataflow_runtime.runner import run_workflow\n"
        "assert run_workflow('orders').status == 'success'\n"
        "shutil.copytree(os.environ['DATAFLOW_HOME'], 'first')\n"
        f"os.environ |= {LATER}\n"
        "assert run_workflow('orders').status == 'success'\n"
    )
    return folder / "first", content(folder / "first"), content(site.home)


def kill(site: Any, place: str, **environ: str) -> dict[str, list[Any]]:
    """Return what stands in the warehouse after a run that was killed."""
    outcome = site.run("run", "orders", "--json", ORDERS_KILL=place, **environ)
    assert outcome.returncode == -9, f"{outcome.returncode} {outcome.stderr}"
    assert outcome.stdout == ""
    return content(site.home)


@pytest.mark.parametrize("place", ["extract", "load:6", "load:16", "dbt:14"])
def test_killed_in_the_first_run(site: Any, undisturbed: Any, place: str) -> None:
    _, _, expected = undisturbed
    site.install("orders")
    between = kill(site, place, **LATER)
    assert between.get("orders_raw.orders", []) in ([], expected["orders_raw.orders"])
    again = site.run("run", "orders", "--json", **LATER)
    assert again.returncode == 0, again.stderr
    found = content(site.home)
    assert found["orders_raw.orders"] == expected["orders_raw.orders"]
    assert found["orders_marts.fct_orders_daily"] == expected["orders_marts.fct_orders_daily"]
    assert len({row[0] for row in found["orders_raw.orders"]}) == len(found["orders_raw.orders"]) == 46
    assert len(found["orders_raw.orders_rejected"]) == 4


@pytest.mark.parametrize(
    "place", ["transform", "load:10", "commit:1", "commit:2", "loaded", "dbt:12", "dbt:18", "built"]
)
def test_killed_in_a_later_run(
    site: Any, undisturbed: Any, run: Any, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, before, expected = undisturbed
    site.install("orders")
    shutil.copytree(first, site.home)
    between = kill(site, place, **LATER)
    for table in ("orders_raw.orders", "orders_raw.orders_rejected"):
        assert between[table] in (before[table], expected[table]), "neither the old rows nor the new ones"
    monkeypatch.setenv("ORDERS_FILE", LATER["ORDERS_FILE"])
    assert run("orders").error is None
    assert content(site.home) == expected
