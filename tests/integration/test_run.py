"""Runs of a whole workflow with real Dagster, dlt, dbt and DuckDB, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

pytestmark = pytest.mark.e2e

HEADER = "id,ordered_at,status,amount\n"


@pytest.fixture
def orders(site: Any) -> Path:
    return site.install("orders")


def query(site: Any, statement: str) -> list[Any]:
    with duckdb.connect(site.home / "orders.duckdb", read_only=True) as connection:
        return connection.execute(statement).fetchall()


def tables(site: Any) -> list[Any]:
    if not (site.home / "orders.duckdb").exists():
        return []
    return query(
        site,
        "select table_name from information_schema.tables where table_schema not like '%staging%'",
    )


def test_the_report(site: Any, orders: Path, run: Any) -> None:
    steps: list[tuple[str, str]] = []
    report = run("orders", on_step=lambda step: steps.append((step.name, step.status)))
    assert report.error is None
    assert report.status == "success"
    assert report.rows == {"extracted": 40, "rejected": 4, "loaded": 36}
    assert report.rejected_by == {"amount_positive": 2, "type:amount": 1, "primary_key": 1}
    assert report.dbt == {"models": 2, "tests": 4, "failed": []}
    assert report.warehouse == {"type": "duckdb", "location": str(site.home / "orders.duckdb")}
    assert report.tables == ["orders_raw.orders", "orders_raw.orders_rejected"]
    names = ("extract", "transform", "load", "dbt")
    assert steps == [(name, status) for name in names for status in ("running", "success")]
    assert query(site, "select count(*), count(distinct id) from orders_raw.orders") == [(36, 36)]
    assert query(site, "select sum(orders) from orders_marts.fct_orders_daily") == [(36,)]


def test_rejected_rows_are_kept_with_reason_run_time_and_values(
    site: Any, orders: Path, run: Any
) -> None:
    report = run("orders")
    rows = query(
        site,
        "select row_key, checks, run_id, rejected_at, row from orders_raw.orders_rejected"
        " order by row_key",
    )
    assert [(key, checks) for key, checks, *_ in rows] == [
        ("o005", "amount_positive"),
        ("o017", "amount_positive"),
        ("o023", "type:amount"),
        (rows[3][0], "primary_key"),
    ]
    assert rows[3][0].startswith("sha256:")
    assert {run_id for _, _, run_id, _, _ in rows} == {report.run_id}
    assert json.loads(rows[2][4]) == {
        "id": "o023",
        "ordered_at": "2024-03-03T12:23:00Z",
        "status": "shipped",
        "amount": "many",
    }
    # The status as the source spelt it, not as transform did.
    assert json.loads(rows[0][4])["status"] == "shipped"
    assert json.loads(rows[3][4])["status"] == "PAID"


def test_a_second_run_leaves_every_row_once_and_takes_what_is_new(
    site: Any, orders: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("orders")
    assert run("orders").rows["loaded"] == 36
    counts = (
        "select (select count(*) from orders_raw.orders),"
        " (select count(*) from orders_raw.orders_rejected)"
    )
    assert query(site, counts) == [(36, 4)]
    monkeypatch.setenv("ORDERS_FILE", "orders_later.csv")
    assert run("orders").status == "success"
    # The row without a key has another status now: it is another row.
    assert query(site, counts) == [(46, 5)]
    assert query(
        site, "select count(*) from orders_raw.orders where status = 'shipped' and id > 'o020'"
    ) == [(18,)]


def test_too_many_rejected_rows_fail_before_anything_loads(
    site: Any, orders: Path, run: Any
) -> None:
    report = run("orders", env="strict")
    assert report.status == "failure"
    assert report.error["step"] == "transform"
    assert report.error["message"] == (
        "4 of 40 rows are rejected (10.0%: amount_positive 2, type:amount 1, primary_key 1), "
        "processing.max_rejected_ratio allows 0.0%"
    )
    assert report.error["hint"].startswith("nothing was loaded; the rejected rows are in ")
    assert Path(report.error["hint"].split(" are in ")[1]).is_dir()
    assert report.rows == {"extracted": 40, "rejected": 0, "loaded": 0}
    assert tables(site) == []
    assert {step.name: step.status for step in report.steps} == {
        "extract": "success",
        "transform": "failure",
        "load": "skipped",
        "dbt": "skipped",
    }
    assert [step.seconds is None for step in report.steps] == [False, False, True, True]


def test_a_limit_that_is_just_met_passes(site: Any, orders: Path, run: Any) -> None:
    assert run("orders", overrides={"processing.max_rejected_ratio": "0.1"}).status == "success"


def test_a_failing_dbt_test_names_test_model_and_rows(site: Any, orders: Path, run: Any) -> None:
    (orders / "orders.csv").write_text(
        HEADER + "".join(f"o{n},2024-03-01,{'lost' if n < 3 else 'open'},1\n" for n in range(9))
    )
    report = run("orders")
    assert report.status == "failure"
    name = "accepted_values_stg_orders_status__open__paid__shipped"
    (failed,) = report.dbt["failed"]
    assert (failed["name"], failed["model"], failed["failures"]) == (name, "stg_orders", 1)
    assert report.error["step"] == "dbt"
    assert (
        report.error["message"] == f"dbt build failed: {name} of model stg_orders: 1 failing rows"
    )
    assert report.rows["loaded"] == 9
    assert report.dbt["models"] == 1, "what stands on a failed test is not built"


def test_a_failing_model_names_it(site: Any, orders: Path, run: Any) -> None:
    (orders / "dbt" / "models" / "stg_orders.sql").write_text(
        "select no_such_column from {{ source('orders_raw', 'orders') }}"
    )
    report = run("orders")
    assert report.error["step"] == "dbt"
    assert "stg_orders" in report.error["message"]
    assert "no_such_column" in report.error["message"]


def test_a_dbt_project_that_cannot_be_parsed(site: Any, orders: Path, run: Any) -> None:
    (orders / "dbt" / "models" / "stg_orders.sql").write_text("select * from {{ ref('nowhere') }}")
    report = run("orders")
    assert report.error["step"] == "dbt"
    assert "nowhere" in report.error["message"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "orders.csv: the file is empty"),
        (None, "source.file.path: no file matches "),
        ("id,ordered_at\no1,2024-03-01\n", "processing.columns: the source has no column 'status'"),
    ],
)
def test_a_source_that_cannot_be_used_loads_nothing(
    site: Any, orders: Path, run: Any, text: str | None, message: str
) -> None:
    (orders / "orders.csv").unlink()
    if text is not None:
        (orders / "orders.csv").write_text(text)
    report = run("orders")
    assert report.status == "failure"
    assert message in report.error["message"]
    assert tables(site) == []


def test_a_truncated_geojson_names_the_line(site: Any, orders: Path, run: Any) -> None:
    (orders / "cut.geojson").write_text(
        '{"type": "FeatureCollection",\n "features": [\n  {"id": "o1", "prop'
    )
    report = run("orders", overrides={"source.file.path": "cut.geojson"})
    assert report.error["step"] == "extract"
    assert "cut.geojson:3:" in report.error["message"]
    assert tables(site) == []


def test_no_rows_are_no_failure_and_the_tables_are_there(site: Any, orders: Path, run: Any) -> None:
    (orders / "orders.csv").write_text(HEADER)
    report = run("orders")
    assert report.error is None
    assert report.rows == {"extracted": 0, "rejected": 0, "loaded": 0}
    assert report.dbt["models"] == 2
    assert query(site, "select count(*) from orders_raw.orders") == [(0,)]


def test_all_rows_rejected_is_no_crash(site: Any, orders: Path, run: Any) -> None:
    (orders / "orders.csv").write_text(HEADER + "o1,soon,open,-1\n")
    report = run("orders", overrides={"processing.max_rejected_ratio": 1})
    assert report.error is None
    assert report.rows == {"extracted": 1, "rejected": 1, "loaded": 0}


def test_a_wrong_type_in_row_1000_rejects_this_row(site: Any, orders: Path, run: Any) -> None:
    lines = [
        f"o{n:04},2024-03-01T00:00:00Z,open,{'1.5' if n != 1000 else 'a lot'}\n"
        for n in range(1, 1501)
    ]
    (orders / "orders.csv").write_text(HEADER + "".join(lines))
    report = run("orders", overrides={"processing.batch_size": 10_000})
    assert report.status == "success"
    assert report.rejected_by == {"type:amount": 1}
    assert query(site, "select row_key from orders_raw.orders_rejected") == [("o1000",)]
    assert query(site, "select count(*), sum(amount) from orders_raw.orders") == [
        (1499, 1499 * 1.5)
    ]


def test_a_bug_in_the_workflow_names_its_line(
    site: Any, orders: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERS_TOKEN", "planted-token-1234")
    monkeypatch.setenv("ORDERS_BUG", "planted-token-1234")
    report = run("orders")
    line = (orders / "transform.py").read_text().splitlines().index(
        "        raise KeyError(message)"
    ) + 1
    assert report.error == {
        "step": "transform",
        "message": f"KeyError: '**********' ({orders / 'transform.py'}:{line})",
        "hint": None,
    }


def test_what_transform_changes_in_the_schema_is_loaded(site: Any, orders: Path, run: Any) -> None:
    run("orders")
    transform = orders / "transform.py"
    source = transform.read_text().replace(
        "return rows.with_columns(",
        "rows = rows.with_columns(big=pl.lit(2**40), tags=pl.concat_list('id', 'status'))\n"
        "    return rows.with_columns(",
    )
    transform.write_text(source)
    outcome = site.run("run", "orders", "--json")
    assert outcome.returncode == 0, outcome.stderr
    rows = query(site, "select big, tags from orders_raw.orders where id = 'o001'")
    assert rows == [(2**40, '["o001","PAID"]')]


def test_the_last_run_is_shown(site: Any, orders: Path, run: Any) -> None:
    from dataflow_runtime.orchestration.listing import show_workflow

    assert show_workflow("orders")["last_run"] is None
    run("orders", env="strict")
    report = run("orders")
    last = show_workflow("orders")["last_run"]
    assert (last["run_id"], last["status"]) == (report.run_id, "success")
    assert last["seconds"] > 0


def test_staging_is_removed_when_the_rows_are_loaded(site: Any, orders: Path, run: Any) -> None:
    report = run("orders")
    assert not (site.home / "staging" / "orders" / report.run_id).exists()
