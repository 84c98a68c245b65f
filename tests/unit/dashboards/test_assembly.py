"""The Evidence project: what is copied into it, what is left alone, what is taken out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dataflow_runtime.dashboards.assembly import Site, collect, lay_out, write_skeleton
from dataflow_runtime.dashboards.components import with_imports
from dataflow_runtime.dashboards.model import Dashboard
from dataflow_runtime.errors import UsageError
from dataflow_runtime.settings import get_settings
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflow

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
    site = Site.of(get_settings())
    write_skeleton(site)
    dashboards = collect(site)
    lay_out(site, dashboards)
    return site.folder, dashboards


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

    assemble()
    assert state(project) == before

    (evidence / "index.md").write_text("# All sales")
    assemble()
    after = state(project)
    assert {path for path in after if after[path] != before[path]} == {"pages/sales/index.md"}

    (evidence / "sources" / "rows.sql").write_text("select id, 1 as n from sales")
    assemble()
    changed = {path for path, time in state(project).items() if time != after[path]}
    assert changed == {"data/sales/rows.parquet", "sources/sales/rows.sql"}


def test_what_is_gone_is_taken_out(site: Any) -> None:
    evidence = write(
        site,
        "sales",
        **{"index.md": "# Sales", "more__page.md": "# More", "sources__rows.sql": "from sales"},
    )
    project, _ = assemble()
    assert (project / "pages" / "sales" / "more" / "page.md").is_file()
    (evidence / "more" / "page.md").unlink()
    (evidence / "sources" / "rows.sql").unlink()
    assemble()
    assert not (project / "pages" / "sales" / "more").exists()
    assert not list(project.glob("*/sales/rows.*"))


def test_no_query_names_a_place_of_the_machine(site: Any) -> None:
    write(site, "sales", **{"index.md": "# Sales", "sources__rows.sql": "from sales"})
    project, _ = assemble()
    for file in (path for path in project.rglob("*") if path.is_file()):
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
    assert f"{name!r} cannot be a page's name" in dashboard.problems[0].message
    assert not (project / "pages" / name).exists()


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
    config = json.loads((project / "evidence.config.yaml").read_text())
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


COMPONENT = {
    "index.md": "# S",
    "components__Share.svelte": "<p />",
    "components__charts__Bar.svelte": "<p />",
}


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("# No component\n", "# No component\n"),
        (
            "---\ntitle: S\n---\n<Share/>\n",
            "---\ntitle: S\n---\n\n<script> {share} </script>\n\n<Share/>\n",
        ),
        ("<Share />\n<Bar />\n", "\n<script> {share} {bar} </script>\n\n<Share />\n<Bar />\n"),
        (
            "<script>\nlet a;\n</script>\n<Share />",
            "<script> {share}\nlet a;\n</script>\n<Share />",
        ),
        (
            "<script>\nimport Share from 'x';\n</script>\n<Share />",
            "<script>\nimport Share from 'x';\n</script>\n<Share />",
        ),
        (
            "<script context='module'>\nlet a;\n</script>\n<Share />",
            "\n<script> {share} </script>\n\n"
            "<script context='module'>\nlet a;\n</script>\n<Share />",
        ),
        ("<ShareOfAll />\n", "<ShareOfAll />\n"),
    ],
)
def test_a_page_imports_its_own_components(site: Any, page: str, expected: str) -> None:
    write(site, "sales", **COMPONENT)
    share = "import Share from '$lib/sales/Share.svelte';"
    bar = "import Bar from '$lib/sales/charts/Bar.svelte';"
    assert with_imports(page, Dashboard(find_workflow("sales"))) == expected.format(
        share=share, bar=bar
    )


def test_a_workflow_whose_package_cannot_be_found(site: Any) -> None:
    gone = Dashboard(InstalledWorkflow("gone", "gone", "1.0", "gone", "gone"))
    assert (gone.folder, gone.pages()) == (None, [])


def test_a_component_of_another_workflow_is_imported_or_refused(site: Any) -> None:
    write(site, "sales", **COMPONENT)
    bare = write(site, "stock", **{"index.md": "# Stock\n<Share />\n"})
    write(
        site,
        "parts",
        **{
            "index.md": "<script>import Share from '$lib/sales/Share.svelte';</script>\n<Share />\n"
        },
    )
    # Evidence's own components win over those of all workflows.
    core = (
        Site.of(get_settings()).folder
        / "node_modules/@evidence-dev/core-components/dist/charts/Bar.svelte"
    )
    core.parent.mkdir(parents=True)
    core.touch()
    write(site, "bars", **{"index.md": "# Bars\n<Bar />\n"})
    _, dashboards = assemble()
    status = {dashboard.name: dashboard.status for dashboard in dashboards}
    assert status == {"sales": "ok", "stock": "broken", "parts": "ok", "bars": "ok"}
    (problem,) = next(dashboard for dashboard in dashboards if dashboard.name == "stock").problems
    assert (problem.file, problem.message.partition(":")[0]) == (
        bare / "index.md",
        "<Share> is a component of sales",
    )
