"""The Evidence project: what is copied into it, left alone and removed; whose problem is whose."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dataflow_runtime.dashboards.build import find_problems
from dataflow_runtime.dashboards.model import Dashboard
from dataflow_runtime.dashboards.project import Project, collect, lay_out, write_skeleton
from dataflow_runtime.errors import UsageError
from dataflow_runtime.settings import get_settings
from dataflow_runtime.workflows.discovery import InstalledWorkflow

MODULE = "from dataflow_runtime import register_workflow\nregister_workflow(name='{name}')(None)\n"
CONFIG = "source: {type: mock}\nprocessing: {columns: {id: string}}\n"


def write(site: Any, name: str, **files: str) -> Path:
    """Install a workflow with one row and these files in ``evidence/``; return that folder."""
    texts = {f"evidence/{file.replace('__', '/')}": text for file, text in files.items()}
    texts |= {"__init__.py": "", "dagster_job.py": MODULE.format(name=name), "config.yaml": CONFIG}
    package = site.write(
        name,
        {f"{name}/{file}": text for file, text in texts.items()},
        {name: f"{name}.dagster_job"},
    )
    site.home.mkdir(exist_ok=True)
    with duckdb.connect(site.home / f"{name}.duckdb") as connection:
        connection.execute(
            f"create schema {name}_raw; create table {name}_raw.{name} as select 'a' as id"
        )
    return package / "evidence"


def assemble() -> tuple[Path, list[Dashboard]]:
    project = Project(get_settings())
    write_skeleton(project)
    dashboards = collect(project)
    lay_out(project, dashboards)
    return project.template, dashboards


def state(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_only_what_changed_is_written(site: Any) -> None:
    evidence = write(site, "sales", **{"index.md": "# Sales", "sources__rows.sql": "from sales"})
    write(
        site,
        "other",
        **{
            "index.md": "# Other",
            "components__A.svelte": "<p />",
            "sources__rows.sql": "from other",
        },
    )
    project, dashboards = assemble()
    assert [dashboard.status for dashboard in dashboards] == ["ok", "ok"]
    before = state(project)

    lay_out(Project(get_settings()), dashboards)
    assert state(project) == before

    (evidence / "index.md").write_text("# All sales")
    lay_out(Project(get_settings()), dashboards)
    after = state(project)
    assert {path for path in after if after[path] != before.get(path)} == {
        "src/pages/sales/+page.md"
    }


def test_changed_rows_change_the_address_of_their_table_only(site: Any) -> None:
    evidence = write(site, "sales", **{"index.md": "# Sales", "sources__rows.sql": "from sales"})
    write(site, "other", **{"index.md": "# Other", "sources__rows.sql": "from other"})

    def tables(project: Path) -> dict[str, list[str]]:
        return json.loads((project / "static/data/manifest.json").read_text())["renderedFiles"]

    project, _ = assemble()
    before = tables(project)
    (evidence / "sources" / "rows.sql").write_text("select id, 1 as n from sales")
    assemble()
    after = tables(project)
    assert after["other"] == before["other"]
    assert after["sales"] != before["sales"]
    assert [str(path.relative_to(project)) for path in project.glob("static/data/sales/*/*/*")] == (
        after["sales"]
    )


def test_deleted_pages_and_queries_are_removed(site: Any) -> None:
    evidence = write(
        site,
        "sales",
        **{"index.md": "# Sales", "more__page.md": "# More", "sources__rows.sql": "from sales"},
    )
    project, _ = assemble()
    pages = project / "src" / "pages" / "sales"
    assert (pages / "more" / "page" / "+page.md").is_file()
    (evidence / "more" / "page.md").unlink()
    (evidence / "sources" / "rows.sql").unlink()
    assemble()
    assert not (pages / "more").exists()
    assert not list(project.glob("static/data/sales/*/"))


def test_no_file_names_a_folder_of_the_machine(site: Any) -> None:
    write(site, "sales", **{"index.md": "# Sales", "sources__rows.sql": "from sales"})
    project, _ = assemble()
    for file in [path for path in project.rglob("*") if path.is_file()]:
        assert str(site.home).encode() not in file.read_bytes(), file


@pytest.mark.parametrize("name", ["explore", "dataflow_site", "API", "with-hyphen"])
def test_names_that_the_site_itself_has_are_refused(site: Any, name: str) -> None:
    package = {
        "w/__init__.py": "",
        "w/dagster_job.py": MODULE.format(name=name),
        "w/evidence/index.md": "# W",
    }
    site.write("w", package, {name: "w.dagster_job"})
    project, (dashboard,) = assemble()
    assert dashboard.status == "broken"
    assert f"{name!r} cannot be the name of a page" in dashboard.problems[0].message
    assert not (project / "src" / "pages" / name).exists()


def test_a_workflow_without_dashboard_or_with_a_broken_config(site: Any) -> None:
    site.install("orders")
    evidence = write(site, "sales", **{"index.md": "# Sales", "sources__rows.sql": "from sales"})
    (evidence.parent / "config.yaml").write_text("source: {type: moc}\n")
    write(site, "pages", **{"other.md": "# Other"})
    _, dashboards = assemble()
    found = {dashboard.name: dashboard for dashboard in dashboards}
    assert found["orders"].status == "none"
    assert found["sales"].status == "broken"
    assert found["sales"].problems[0].file == evidence.parent / "config.yaml"
    assert "no index.md" in found["pages"].problems[0].message


def test_the_settings_reach_evidence(
    site: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theme = tmp_path / "theme.yaml"
    theme.write_text("theme: {colors: {primary: '#123456'}}\n")
    monkeypatch.setenv("DATAFLOW_DASHBOARDS_THEME", str(theme))
    monkeypatch.setenv("DATAFLOW_DASHBOARDS_BASE_PATH", "/a/b")
    project, _ = assemble()
    config = json.loads((project.parents[1] / "evidence.config.yaml").read_text())
    assert config["deployment"] == {"basePath": "/a/b"}
    assert config["theme"] == {"colors": {"primary": "#123456"}}


@pytest.mark.parametrize(
    ("theme", "message"),
    [("lihgt", "No such file"), ("{file}", "allowed keys are theme and appearance")],
)
def test_a_theme_that_is_none(
    site: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, theme: str, message: str
) -> None:
    (tmp_path / "theme.yaml").write_text("plugins: {}\n")
    monkeypatch.setenv("DATAFLOW_DASHBOARDS_THEME", theme.format(file=tmp_path / "theme.yaml"))
    with pytest.raises(UsageError, match=message):
        assemble()


def test_a_base_path_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLOW_DASHBOARDS_BASE_PATH", "reports/")
    with pytest.raises(UsageError, match="DATAFLOW_DASHBOARDS_BASE_PATH"):
        get_settings()


def test_metadata_commands_do_not_import_the_package(site: Any) -> None:
    printed = site.python(
        "import sys\nfrom dataflow_runtime.cli import cli\n"
        "cli.main(['list'], standalone_mode=False)\n"
        "prefix = 'dataflow_runtime.dashboards'\n"
        "print(sorted(name for name in sys.modules if name.startswith(prefix)))"
    )
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "base", ["/data", "/d", "/api", "/settings/x", "/sales", "/sal", "/sales/reports", "/_app"]
)
def test_a_base_path_that_a_path_of_the_site_begins_with_is_refused(
    site: Any, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    write(site, "sales", **{"index.md": "# Sales"})
    monkeypatch.setenv("DATAFLOW_DASHBOARDS_BASE_PATH", base)
    with pytest.raises(UsageError, match=f"BASE_PATH: {base}: the site itself has /") as caught:
        assemble()
    assert caught.value.hint == "choose another path, such as /reports"


@pytest.mark.parametrize("base", ["", "/reports", "/reports/data", "/sales_reports", "/dataflow"])
def test_other_base_paths_are_accepted(
    site: Any, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    write(site, "sales", **{"index.md": "# Sales"})
    monkeypatch.setenv("DATAFLOW_DASHBOARDS_BASE_PATH", base)
    if base == "/dataflow":
        with pytest.raises(UsageError, match="/dataflow_site"):
            assemble()
    else:
        assert assemble()[1][0].status == "ok"


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("# Rows", "Sales by region"),
        ("---\ntitle: sales_by_region\n---\n", "Sales by region"),
        ("---\nother: 1\ntitle: 'All: sales'\n---\n", "All: sales"),
    ],
)
def test_a_title_is_the_same_in_heading_and_home_page(site: Any, page: str, title: str) -> None:
    write(site, "sales_by_region", **{"index.md": page, "more.md": "# More"})
    project, (dashboard,) = assemble()
    assert dashboard.title == title
    text = (project / "src/pages/sales_by_region/+page.md").read_text()
    assert text.startswith(f"---\ntitle: {json.dumps(title)}\n")
    assert text.count("title:") == 1
    assert ("other: 1" in text) == ("other: 1" in page)
    facts = json.loads((project / "src/components/dataflow_site/site.json").read_text())
    assert facts["workflows"][0]["title"] == title
    more = (project / "src/pages/sales_by_region/more/+page.md").read_text()
    assert more.startswith('---\ntitle: "More"\n')


COMPONENT = {"components__Share.svelte": "<p />", "components__charts__Bar.svelte": "<p />"}
SHARE = "import Share from '$lib/sales/Share.svelte';"
BAR = "import Bar from '$lib/sales/charts/Bar.svelte';"


@pytest.mark.parametrize(
    ("page", "imports"),
    [
        ("# No component\n", ""),
        ("---\ntitle: S\n---\n<Share/>\n", SHARE),
        ("<Share />\n<Bar />\n", f"{SHARE} {BAR}"),
        ("<script>\nlet a;\n</script>\n<Share />", SHARE),
        ("<script>\nimport Share from 'x';\n</script>\n<Share />", ""),
        ("<script context='module'>\nlet a;\n</script>\n<Share />", SHARE),
        ("<ShareOfAll />\n", ""),
    ],
)
def test_a_page_imports_its_own_components(site: Any, page: str, imports: str) -> None:
    write(site, "sales", **COMPONENT, **{"index.md": page})
    project, _ = assemble()
    text = (project / "src/pages/sales/+page.md").read_text()
    assert " ".join(re.findall(r"import \w+ from '\$lib/sales/[^']+';", text)) == imports
    assert len(re.findall(r"<script>", text)) == 1


def test_a_workflow_whose_package_cannot_be_found(site: Any) -> None:
    gone = Dashboard(InstalledWorkflow("gone", "gone", "1.0", "gone", "gone"))
    assert not gone.folder.exists()
    assert gone.pages() == []


def test_problems_name_the_files_of_their_workflow(site: Any) -> None:
    folder = write(site, "sales", **COMPONENT, **{"index.md": "# S", "details.md": "# D"})
    project = Project(get_settings())
    write_skeleton(project)
    dashboards = collect(project)
    origins = lay_out(project, dashboards)
    notices = [
        {"file": "src/pages/sales/details/+page.md", "message": "no  column\n n", "query": "rows"},
        {"file": "src/components/sales/Share.svelte", "message": "unclosed"},
        {"file": "src/pages/sales/+page.md", "message": "it throws", "unrendered": True},
        {"file": "src/pages/unknown/+page.md", "message": "of nobody"},
    ]
    lines = [f"[dataflow] {json.dumps(notice)}" for notice in notices]
    printed = "\n".join(["Evidence says", *lines, lines[0], "[dataflow] is a word"])

    (found,), unrendered = find_problems(printed, dashboards, origins)

    assert unrendered == ["/sales"]
    assert found.status == "broken"
    assert [(p.file, p.page, p.query, p.message) for p in found.problems] == [
        (folder / "details.md", "/sales/details", "rows", "no column n"),
        (folder / "components" / "Share.svelte", None, None, "unclosed"),
        (folder / "index.md", "/sales", None, "it throws"),
    ]
    assert find_problems("", dashboards, origins) == (dashboards, [])
