"""The rows of a dashboard's queries, read from a warehouse that others use."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
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


def table(folder: Path) -> duckdb.DuckDBPyRelation:
    """Return the one table in a folder."""
    (file,) = folder.glob("*/*.parquet")
    return duckdb.read_parquet(str(file))


def rows(folder: Path) -> list[Any]:
    return table(folder).fetchall()


def test_tables_go_by_their_names_alone(site: Any, sales: Path) -> None:
    make_warehouse(site)
    (sales / "both.sql").write_text(
        "-- a comment\nselect total, (select count(*) from sales) as n from fct; -- end\n"
    )
    (sales / "full.sql").write_text("from marts.fct")
    dashboard, data = read(site)
    assert (dashboard.status, dashboard.rows, dashboard.rejected) == ("ok", 3, None)
    assert rows(data / "both") == [(3.0, 3)]
    assert rows(data / "full") == [(3.0,)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select", "without selection list"),
        ("create table x as select 1", "read-only"),
        ("delete from sales", "read-only"),
        ("", "not a query"),
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
    assert rows(data / "right") == [(3.0,)]
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
        assert (busy.status, busy.note) == (
            "unread",
            "not read: a run was writing to the warehouse",
        )
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
    assert (99,) in rows(data / "rows")


def test_a_run_that_takes_long_leaves_the_rows_of_the_last_build(site: Any, sales: Path) -> None:
    path = make_warehouse(site)
    (sales / "rows.sql").write_text("from sales")
    first, data = read(site)
    with filelock.FileLock(f"{path}.lock"):
        # Not the lock that this process holds already, which is another object of the same file.
        dashboard, _ = read(site, wait=0.1)
    assert (dashboard.status, dashboard.problems) == ("ok", ())
    assert (dashboard.rows, dashboard.as_of) == (3, first.as_of)
    assert dashboard.note == (
        f"rows as of {first.as_of:%Y-%m-%d %H:%M} UTC: a run was writing to the warehouse"
    )
    assert len(rows(data / "rows")) == 3


def test_a_program_that_keeps_the_file_open_is_a_problem_and_the_rows_stay(
    site: Any, sales: Path
) -> None:
    path = make_warehouse(site)
    (sales / "rows.sql").write_text("from sales")
    assert read(site)[0].status == "ok"
    script = (
        f"import duckdb, sys\nwith duckdb.connect({str(path)!r}):\n"
        "    print('open', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        held, data = read(site)
        assert (held.status, held.rows) == ("ok", 3)
        assert "rows as of" in str(held.note)
        assert "lock" in held.problems[0].message
        assert len(rows(data / "rows")) == 3
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
    assert len(rows(data / "rows")) == 4


def test_many_rows_are_a_warning(site: Any, sales: Path) -> None:
    make_warehouse(site)
    (sales / "fine.sql").write_text("from range(100000)")
    (sales / "many.sql").write_text("from range(100001)")
    dashboard, _ = read(site)
    (warning,) = dashboard.warnings
    assert "many.sql: 100,001 rows" in warning
    assert "limit it to 100,000 rows" in warning
    assert dashboard.to_json()["warnings"] == [warning]


def test_the_share_of_rejected_rows_is_compared_with_that_of_a_week_ago(
    site: Any, sales: Path
) -> None:
    path = make_warehouse(site)
    (sales / "rows.sql").write_text("from sales")
    assert read(site)[0].rejected_before is None
    file = site.home / "data" / "readings.json"
    now = datetime.now(UTC)
    readings = [((now - timedelta(days=days)).isoformat(), 90, 10 * days) for days in (9, 6, 1)]
    file.write_text(json.dumps(readings))
    with duckdb.connect(path) as connection:
        connection.execute("create table sales_raw.sales_rejected as from range(1)")
    dashboard, _ = read(site)
    assert (dashboard.rejected_before, dashboard.rejected_share) == (0.4, 0.25)
    assert len(json.loads(file.read_text())) == 3


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
        "write": "cannot execute INSERT in a read-only transaction",
    }
    assert rows(data / "nothing") == []
    relation = table(data / "values")
    (row,) = relation.fetchall()
    assert [str(value) for value in row] == [
        *("12345678901.0", "1.25", "nan", "True"),
        *("2024-02-29 00:00:00", "2024-02-29 22:30:00", "None"),
        *("", "None", 'a,"b"\nc', "[1, 2]", '{"a": 1}'),
    ]
    assert [str(kind) for kind in relation.types][:6] == [
        "DOUBLE",
        "DOUBLE",
        "DOUBLE",
        "BOOLEAN",
        "TIMESTAMP",
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
