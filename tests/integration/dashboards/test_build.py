"""What `dashboards build` reports about the dashboards that it built and those that failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


def messages(world: Any, name: str) -> list[tuple[str | None, str | None, str | None, str]]:
    """Return what is wrong with a dashboard: file, page, query, message."""
    return [
        (
            problem["file"] and Path(problem["file"]).name,
            problem["page"],
            problem["query"],
            problem["message"],
        )
        for problem in world.dashboard(name)["problems"]
    ]


def test_broken_dashboards_fail_the_build_and_the_others_are_built(world: Any) -> None:
    assert world.returncode == 1
    status = {entry["workflow"]: entry["status"] for entry in world.report["dashboards"]}
    assert status == {
        **dict.fromkeys(("example_workflow", "sales", "sales_pg", "empty", "all_types"), "ok"),
        **dict.fromkeys(
            ("bad_source", "no_table", "bad_page", "bad_markup", "bad_render"), "broken"
        ),
        "not_run": "not run",
    }
    for name in status:
        assert (world.folder / name / "index.html").is_file()
    assert world.report["output"] == str(world.folder)


def test_progress_is_said_on_stderr(world: Any) -> None:
    for part in (
        "installing Evidence",
        "reading the warehouses",
        "building the pages",
        "bad_markup cannot be built",
    ):
        assert part in world.stderr


def test_rows_are_counted(world: Any) -> None:
    example, postgres = world.dashboard("example_workflow"), world.dashboard("sales_pg")
    assert (example["rows"], example["rejected"]) == (
        world.expected["events"],
        world.expected["rejected"],
    )
    assert (postgres["rows"], postgres["rejected"]) == (
        world.expected["sales_pg"][0],
        world.expected["sales_pg"][2],
    )
    assert (world.dashboard("empty")["rows"], world.dashboard("empty")["rejected"]) == (0, None)
    assert world.dashboard("not_run")["rows"] is None


def test_wrong_sql_in_a_source(world: Any) -> None:
    ((file, page, query, message),) = messages(world, "bad_source")
    assert (file, page, query) == ("rows.sql", None, "rows")
    assert 'syntax error at or near "bad_source"' in message


def test_missing_table(world: Any) -> None:
    ((file, _, query, message),) = messages(world, "no_table")
    assert (file, query) == ("rows.sql", "rows")
    assert "Table with name nowhere does not exist" in message


def test_wrong_sql_wrong_column_and_dead_link_in_a_page(world: Any) -> None:
    found = messages(world, "bad_page")
    assert [(file, page, query) for file, page, query, _ in found] == [
        ("index.md", "/bad_page", "wrong"),
        ("index.md", "/bad_page", None),
        ("index.md", "/bad_page", None),
        ("details.md", "/bad_page/details", None),
    ]
    assert 'Referenced column "missing_column" not found' in found[0][3]
    assert "no_such_column" in found[1][3]
    assert found[2][3] == "the link to /nowhere leads nowhere"
    assert "nothing" in found[3][3]


def test_markup_that_is_not_closed(world: Any) -> None:
    ((file, _, _, message),) = messages(world, "bad_markup")
    assert (file, message) == ("index.md", "<div> was left open")


def test_a_page_that_throws(world: Any) -> None:
    ((file, page, _, message),) = messages(world, "bad_render")
    assert (file, page) == ("index.md", "/bad_render/")
    assert "fails when it is rendered" in message


def test_the_build_is_an_asset_downstream_of_the_marts(from_dagster: Any, site: Any) -> None:
    assert from_dagster.returncode == 0, from_dagster.stderr[-3000:]
    queries = site.install("shipments") / "evidence" / "sources"
    queries.mkdir(parents=True)
    (queries / "weights.sql").write_text("select weight from shipments_marts.stg_shipments")
    printed = site.python(
        "from dataflow_runtime.dagster_repo import dashboards, shipments\n"
        "graph = dashboards.asset_graph\n"
        "node = graph.get(__import__('dagster').AssetKey('dashboards'))\n"
        "print(sorted(key.to_user_string() for key in node.parent_keys))\n"
        "node = shipments.asset_graph.get(next(iter(node.parent_keys)))\n"
        "print(sorted(key.to_user_string() for key in node.parent_keys))\n"
        "print(dashboards.get_job('dashboards_job').name)\n"
        "print(dashboards.get_schedule_def('dashboards_schedule').cron_schedule)\n",
        DATAFLOW_DASHBOARDS_SCHEDULE="30 6 * * *",
    )
    assert printed.splitlines() == [
        "['shipments/dashboard']",
        "['shipments/stg_shipments']",
        "dashboards_job",
        "30 6 * * *",
    ]
