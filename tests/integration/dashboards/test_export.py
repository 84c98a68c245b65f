"""The rows of a dashboard's queries, read from a warehouse that others use."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import filelock
import psycopg2
import pytest

from dataflow_runtime.dashboards.export import export
from dataflow_runtime.dashboards.model import Dashboard
from dataflow_runtime.workflows.discovery import find_workflow

MODULE = "from dataflow_runtime import register_workflow\nregister_workflow(name='sales')(None)\n"
CONFIG = (
    "source: {type: mock}\nprocessing: {columns: {id: string}}\noutput: {marts_schema: marts}\n"
)


@pytest.fixture
def sales(site: Any) -> Path:
    """A workflow with a dashboard; returns the folder of its queries."""
    files = {
        "__init__.py": "",
        "dagster_job.py": MODULE,
        "config.yaml": CONFIG,
        "evidence/index.md": "# Sales\n",
    }
    folder = site.write(
        "sales",
        {f"sales/{file}": text for file, text in files.items()},
        {"sales": "sales.dagster_job"},
    )
    site.home.mkdir()
    (folder / "evidence" / "sources").mkdir()
    return Path(folder) / "evidence" / "sources"


def make_warehouse(site: Any, rows: int = 3) -> Path:
    path = Path(site.home / "sales.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("create schema sales_raw; create schema marts")
        connection.execute(f"create table sales_raw.sales as select range as id from range({rows})")
        connection.execute("create table marts.fct as select sum(id) as total from sales_raw.sales")
    return path


def read(site: Any, **options: Any) -> tuple[Dashboard, Path]:
    data = Path(site.home / "data")
    return export(Dashboard(find_workflow("sales")), data, **options), data


def rows(file: Path) -> list[Any]:
    return duckdb.read_parquet(str(file)).fetchall()


def test_tables_go_by_their_names_alone(site: Any, sales: Path) -> None:
    make_warehouse(site)
    (sales / "both.sql").write_text(
        "-- a comment\nselect total, (select count(*) from sales) as n from fct; -- end\n"
    )
    (sales / "full.sql").write_text("from marts.fct")
    dashboard, data = read(site)
    assert (dashboard.status, dashboard.rows, dashboard.rejected) == ("ok", 3, None)
    assert rows(data / "both.parquet") == [(3.0, 3)]
    assert rows(data / "full.parquet") == [(3.0,)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select", "without selection list"),
        ("create table x as select 1", "read-only"),
        ("delete from sales", "read-only"),
        ("", "it is no query"),
        ("select error('boom')", "boom"),
        ("select 'x'::integer", "Could not convert"),
    ],
)
def test_what_is_no_query_that_reads_is_a_problem(
    site: Any, sales: Path, query: str, message: str
) -> None:
    make_warehouse(site)
    (sales / "wrong.sql").write_text(query)
    (sales / "right.sql").write_text("from fct")
    dashboard, data = read(site)
    (problem,) = dashboard.problems
    assert (dashboard.status, problem.file, problem.query) == (
        "broken",
        sales / "wrong.sql",
        "wrong",
    )
    assert message in problem.message
    assert rows(data / "right.parquet") == [(3.0,)]
    assert (
        duckdb.connect(site.home / "sales.duckdb", read_only=True)
        .sql("from sales_raw.sales")
        .fetchall()
    )


def test_a_workflow_that_has_not_run(site: Any, sales: Path) -> None:
    (sales / "rows.sql").write_text("from sales")
    assert read(site)[0].status == "not run"
    assert not (site.home / "sales.duckdb").exists()
    duckdb.connect(site.home / "sales.duckdb").close()
    assert read(site)[0].status == "not run"


def test_a_run_that_is_writing_is_waited_for(site: Any, sales: Path) -> None:
    path = make_warehouse(site)
    (sales / "rows.sql").write_text("from sales")
    # A run in a process of its own, as `run` writes: the lock, then the file.
    script = (
        "import duckdb, filelock, sys\n"
        f"lock = filelock.FileLock({f'{path}.lock'!r})\n"
        f"with lock, duckdb.connect({str(path)!r}) as connection:\n"
        "    connection.execute('begin; insert into sales_raw.sales values (99)')\n"
        "    print('writing', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    connection.execute('commit')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        assert run.stdout.readline() == "writing\n"
        busy, _ = read(site, wait=0.1)
        assert (busy.status, busy.note) == ("not run", "a run is writing to the warehouse")
        outcomes = []
        reader = threading.Thread(target=lambda: outcomes.append(read(site, wait=60)))
        reader.start()
        time.sleep(
            0.3
        )  # so that it does wait; if it had not begun yet, the test would pass all the same
        assert outcomes == []
        run.stdin.write("go on\n")
        run.stdin.flush()
        reader.join(60)
    ((dashboard, data),) = outcomes
    assert (dashboard.status, dashboard.rows) == ("ok", 4)
    assert (99,) in rows(data / "rows.parquet")


def test_a_run_that_takes_long_leaves_the_rows_of_the_last_build(site: Any, sales: Path) -> None:
    path = make_warehouse(site)
    (sales / "rows.sql").write_text("from sales")
    _, data = read(site)
    with filelock.FileLock(f"{path}.lock"):
        # Not the lock that this process holds already, which is another object of the same file.
        dashboard, _ = read(site, wait=0.1)
    assert dashboard.status == "ok"
    assert "as of the build before" in str(dashboard.note)
    assert len(rows(data / "rows.parquet")) == 3


def test_a_writer_that_takes_no_turns_is_a_run_that_is_writing(site: Any, sales: Path) -> None:
    path = make_warehouse(site)
    (sales / "rows.sql").write_text("from sales")
    script = (
        f"import duckdb, sys\nwith duckdb.connect({str(path)!r}):\n"
        "    print('open', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        assert read(site)[0].note == "a run is writing to the warehouse"
        assert other.stdin is not None
        other.stdin.close()
        other.wait(60)
    assert read(site)[0].status == "ok"


def test_a_run_that_was_killed_leaves_a_warehouse_that_can_be_read(site: Any, sales: Path) -> None:
    path = make_warehouse(site)
    (sales / "rows.sql").write_text("from sales")
    script = (
        "import duckdb, os\n"
        f"connection = duckdb.connect({str(path)!r})\n"
        "connection.execute('insert into sales_raw.sales values (4)')\n"
        "connection.execute('begin; insert into sales_raw.sales values (5)')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    assert path.with_name("sales.duckdb.wal").exists()
    dashboard, data = read(site)
    assert (dashboard.status, dashboard.rows) == ("ok", 4)
    assert len(rows(data / "rows.parquet")) == 4


@pytest.mark.e2e
def test_postgres_values_arrive_as_they_are(site: Any, sales: Path, postgres: str) -> None:
    with psycopg2.connect(postgres) as connection, connection.cursor() as cursor:
        cursor.execute("drop schema if exists sales_raw cascade")
    (sales.parents[1] / "config.yaml").write_text(
        CONFIG.replace(
            "output: {", f"output: {{warehouse: postgres, postgres: {{url: '{postgres}'}}, "
        )
    )
    assert read(site)[0].status == "ok"
    (sales / "values.sql").write_text(
        "select 12345678901::bigint as big, 1.25::numeric as exact, 'NaN'::float8 as nan,\n"
        "  true as yes, date '2024-02-29' as day,\n"
        "  timestamptz '2024-02-29 23:30:00+01' as at, null::int as nothing,\n"
        "  '' as empty, null::text as none, E'a,\"b\"\\nc' as text,\n"
        "  array[1, 2] as list, -- a comment\n"
        "  '{\"a\": 1}'::jsonb as json;\n"
    )
    (sales / "nothing.sql").write_text("select id from sales where false")
    (sales / "write.sql").write_text("insert into sales values ('x') returning id")
    (sales / "missing.sql").write_text("select * from nowhere")
    assert read(site)[0].status == "not run"
    with psycopg2.connect(postgres) as connection, connection.cursor() as cursor:
        cursor.execute("create schema sales_raw; create table sales_raw.sales (id text)")
    dashboard, data = read(site)
    assert (dashboard.status, dashboard.rows) == ("broken", 0)
    assert {problem.query: problem.message for problem in dashboard.problems} == {
        "missing": 'relation "nowhere" does not exist',
        "write": 'syntax error at or near "into"',
    }
    assert rows(data / "nothing.parquet") == []
    relation = duckdb.read_parquet(str(data / "values.parquet"))
    (row,) = relation.fetchall()
    assert [str(value) for value in row] == [
        *("12345678901", "1.25", "nan", "True", "2024-02-29", "2024-02-29 22:30:00", "None"),
        *("", "None", 'a,"b"\nc', "{1,2}", '{"a": 1}'),
    ]
    assert [str(kind) for kind in relation.types][:6] == [
        "BIGINT",
        "DOUBLE",
        "DOUBLE",
        "BOOLEAN",
        "DATE",
        "TIMESTAMP",
    ]


def test_a_warehouse_that_cannot_be_reached_says_which_and_no_password(
    site: Any, sales: Path
) -> None:
    (sales.parents[1] / "config.yaml").write_text(
        CONFIG.replace(
            "output: {", "output: {warehouse: postgres, postgres: {url: '${WAREHOUSE}'}, "
        )
    )
    (sales / "rows.sql").write_text("from sales")
    printed = site.python(
        "from pathlib import Path\nfrom dataflow_runtime.dashboards.export import export\n"
        "from dataflow_runtime.dashboards.model import Dashboard\n"
        "from dataflow_runtime.workflows.discovery import find_workflow\n"
        "print(export(Dashboard(find_workflow('sales')), Path('data')).problems[0])",
        WAREHOUSE="postgresql://me:hunter2secret@127.0.0.1:9/sales",
    )
    assert "warehouse postgresql://127.0.0.1:9/sales" in printed
    assert "hunter2secret" not in printed
