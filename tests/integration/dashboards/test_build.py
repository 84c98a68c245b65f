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
        **dict.fromkeys(
            ("example_workflow", "sales", "sales_pg", "empty", "all_types", "hostile"), "ok"
        ),
        **dict.fromkeys(
            ("bad_source", "no_table", "bad_page", "bad_markup", "bad_render"), "broken"
        ),
        "not_run": "not run",
    }
    for name in status:
        assert (world.folder / name / "index.html").is_file()
    assert world.report["output"] == str(world.folder)


def test_one_build_finds_all_broken_pages(world: Any) -> None:
    for part in (
        "installing Evidence",
        "reading the warehouses",
        "checking the pages",
        "building the pages",
    ):
        assert world.stderr.count(part) == 1


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
        ("details.md", "/bad_page/details", None),
        ("index.md", "/bad_page", None),
    ]
    assert 'Referenced column "missing_column" not found' in found[0][3]
    assert "no_such_column" in found[1][3]
    assert "'nothing' is not a column" in found[2][3]
    assert found[3][3] == "the link to /reports/data/nowhere leads nowhere"


def test_markup_that_is_not_closed(world: Any) -> None:
    ((file, _, _, message),) = messages(world, "bad_markup")
    assert (file, message) == ("index.md", "<div> was left open")


def test_a_page_that_throws(world: Any) -> None:
    ((file, page, _, message),) = messages(world, "bad_render")
    assert (file, page) == ("index.md", "/bad_render")
    assert message == "Cannot read properties of undefined (reading 'id')"


def test_a_base_path_that_breaks_pages_is_wrong_usage(site: Any) -> None:
    site.install("good")
    outcome = site.run("dashboards", "build", DATAFLOW_DASHBOARDS_BASE_PATH="/data")
    assert outcome.returncode == 2
    assert "DATAFLOW_DASHBOARDS_BASE_PATH: /data: the site itself has /data" in outcome.stderr
    assert "choose another path, such as /reports" in outcome.stderr


def test_a_folder_with_other_files_is_not_replaced(site: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    outcome = site.run("dashboards", "build", "--output", tmp_path)
    assert outcome.returncode == 2
    assert "not empty, and not a site" in outcome.stderr
    assert (tmp_path / "thesis.txt").exists()
