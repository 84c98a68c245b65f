"""``kill -9`` at any moment, then the same command again: every row once, nothing half loaded."""

from __future__ import annotations

import json
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
def undisturbed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    """The home after a first run, and the warehouse's content after that one and after a second, of later rows."""
    site_type = request.getfixturevalue("site_type")
    folder = tmp_path_factory.mktemp("undisturbed")
    site = site_type(folder / "site", folder / "home")
    site.install("orders")
    assert site.run("run", "orders", "--json").returncode == 0
    shutil.copytree(site.home, folder / "first")
    assert site.run("run", "orders", "--json", **LATER).returncode == 0
    return folder / "first", content(folder / "first"), content(site.home)


def killed_then_again(site: Any, place: str, **environ: str) -> dict[str, list[Any]]:
    """Return what stands in the warehouse between the two runs."""
    outcome = site.run("run", "orders", "--json", ORDERS_KILL=place, **environ)
    assert outcome.returncode == -9, f"{outcome.returncode} {outcome.stderr}"
    assert outcome.stdout == ""
    between = content(site.home)
    again = site.run("run", "orders", "--json", **environ)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["status"] == "success"
    return between


@pytest.mark.parametrize("place", ["extract", "load:6", "load:16", "load:19", "dbt:14"])
def test_killed_in_the_first_run(site: Any, undisturbed: Any, place: str) -> None:
    _, expected, _ = undisturbed
    site.install("orders")
    between = killed_then_again(site, place)
    assert between.get("orders_raw.orders", []) in ([], expected["orders_raw.orders"])
    assert content(site.home) == expected


@pytest.mark.parametrize("place", ["transform", "load:9", "load:12", "load:13", "loaded", "dbt:12", "dbt:18", "built"])
def test_killed_in_a_later_run(site: Any, undisturbed: Any, place: str) -> None:
    first, before, expected = undisturbed
    site.install("orders")
    shutil.copytree(first, site.home)
    between = killed_then_again(site, place, **LATER)
    for table in ("orders_raw.orders", "orders_raw.orders_rejected"):
        assert between[table] in (before[table], expected[table]), "neither the old rows nor the new ones"
    assert content(site.home) == expected
    assert len({row[0] for row in expected["orders_raw.orders"]}) == len(expected["orders_raw.orders"]) == 46
