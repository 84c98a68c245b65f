"""Rejected rows that are shown, and sent through the transform and the checks again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dataflow_runtime.errors import DataflowError, UsageError
from dataflow_runtime.pipeline.rejected import ANY_CHECK, show_rejected
from dataflow_runtime.pipeline.sources import scan_source
from dataflow_runtime.pipeline.steps import Pipeline

pytestmark = pytest.mark.e2e

CSV = "id,v,n\n1,ok,1\n2,bad,2\n3,worse,3\n4,ok,four\n"
COLUMNS = {"processing.columns": {"n": "integer"}}

LAX = {"not_worse": pl.col("v") != "worse"}
STRICT = {"not_bad": pl.col("v") != "bad", **LAX}


def double(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.with_columns(n=pl.col("n") * 2)


def frames(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(n=pl.col("n") * 2)


def forgetful(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("id", "v", "n")


class Things:
    """The workflow `things` on one CSV file."""

    def __init__(self, warehouse: Any, file: Path) -> None:
        self.warehouse, self._runs = warehouse, iter(range(100))
        file.write_text(CSV)
        self.settings = {
            "source.type": "file",
            "source.file.path": str(file),
            **COLUMNS,
            **warehouse.settings,
        }

    def start(
        self, checks: Any, *, transform: Any = double, rejected: str | None = None, **settings: Any
    ) -> tuple[Pipeline, Any]:
        named = {key.replace("__", "."): value for key, value in settings.items()}
        pipeline = Pipeline("things", scan_source, transform, checks)
        run = pipeline.run_extract(
            f"replay-{next(self._runs)}",
            env=None,
            overrides={**self.settings, **named},
            rejected=rejected,
        )
        return pipeline, pipeline.run_transform(run)

    def load(self, checks: Any, **settings: Any) -> Any:
        pipeline, run = self.start(checks, **settings)
        return pipeline.run_load(run, last=True)

    def rows(self) -> list[Any]:
        return self.warehouse.query("select id, v, n from things_raw.things order by 1")

    def rejected(self) -> list[Any]:
        rows = self.warehouse.query("select checks, row from things_raw.things_rejected")
        return sorted((checks, json.loads(row)["id"]) for checks, row in rows)


@pytest.fixture
def things(warehouse: Any, stage: Callable[..., Any], tmp_path: Path) -> Things:
    stage([])  # installs the workflow
    return Things(warehouse, tmp_path / "things.csv")


DISPOSITIONS = [
    {"processing__primary_key": ["id"]},
    {"output__write_disposition": "append"},
    {"output__write_disposition": "append", "processing__cursor": {"column": "n"}},
    {"output__write_disposition": "replace"},
]


@pytest.mark.parametrize("settings", DISPOSITIONS, ids=["merge", "append", "cursor", "replace"])
@pytest.mark.parametrize("transform", [double, frames])
def test_what_passes_is_loaded_and_leaves_the_rejected_rows(
    things: Things, settings: Any, transform: Any
) -> None:
    things.load(STRICT, transform=transform, **settings)
    assert things.rows() == [("1", "ok", 2)]
    assert things.rejected() == [("not_bad", "2"), ("not_worse", "3"), ("type:n", "4")]

    run = things.load(LAX, transform=transform, rejected=ANY_CHECK, **settings)
    assert (run.extracted, run.rejected, run.loaded) == (3, 2, 1)
    # `transform` saw the row as the source sent it: its number is doubled once.
    assert things.rows() == [("1", "ok", 2), ("2", "bad", 4)]
    assert things.rejected() == [("not_worse", "3"), ("type:n", "4")]


def test_rows_of_one_check(things: Things) -> None:
    things.load(STRICT)
    run = things.load({}, rejected="not_worse")
    assert (run.extracted, run.loaded) == (1, 1)
    assert things.rejected() == [("not_bad", "2"), ("type:n", "4")]


@pytest.mark.parametrize("settings", DISPOSITIONS, ids=["merge", "append", "cursor", "replace"])
def test_a_load_that_is_repeated_loads_nothing_twice(things: Things, settings: Any) -> None:
    things.load(STRICT, **settings)
    pipeline, run = things.start(LAX, rejected=ANY_CHECK, **settings)
    pipeline.run_load(replace(run, staging=_copy(run.staging)))
    before = things.rows(), things.rejected()
    pipeline.run_load(run)
    assert (things.rows(), things.rejected()) == before


def _copy(staging: str) -> str:
    return shutil.copytree(staging, f"{staging}-copy")


def test_too_many_rows_that_fail_again_do_not_fail_the_run(things: Things) -> None:
    things.load(STRICT)
    run = things.load(STRICT, rejected=ANY_CHECK, processing__max_rejected_ratio=0.1)
    assert (run.extracted, run.rejected, run.loaded) == (3, 3, 0)
    assert len(things.rejected()) == 3


def test_nothing_is_rejected_yet(things: Things) -> None:
    assert things.load(LAX, rejected=ANY_CHECK).extracted == 0


def test_a_check_that_no_row_failed_is_an_error_that_names_the_others(things: Things) -> None:
    things.load(STRICT)
    with pytest.raises(UsageError, match=r"no row of things_raw\.things_rejected failed") as raised:
        things.start(STRICT, rejected="not_badd")
    assert raised.value.hint == "did you mean 'not_bad'?"
    with pytest.raises(UsageError) as raised:
        things.start(STRICT, rejected="zebra")
    assert raised.value.hint == "checks with rows: not_bad, not_worse, type:n"


def test_a_transform_that_drops_the_source_row_cannot_check_it_again(things: Things) -> None:
    things.load(STRICT, transform=forgetful)
    with pytest.raises(DataflowError, match=r"transform\(\) drops the column '_source'"):
        things.start(LAX, transform=forgetful, rejected=ANY_CHECK)


def test_rejected_rows_are_shown_newest_first(things: Things, stage: Any) -> None:
    pipeline, run = things.start(STRICT)
    pipeline.run_load(run)
    config = pipeline.config(run)
    rows = show_rejected(config, ANY_CHECK, 2)
    assert len(rows) == 2
    assert list(rows[0]) == ["row_key", "checks", "row", "run_id", "rejected_at"]
    [row] = show_rejected(config, "not_bad", 10)
    assert (row["checks"], row["run_id"]) == ("not_bad", run.run_id)
    assert json.loads(row["row"]) == {"id": "2", "v": "bad", "n": "2"}


def test_rows_rejected_long_ago_are_removed(things: Things) -> None:
    things.load(STRICT)
    things.warehouse.query(
        "update things_raw.things_rejected set rejected_at = rejected_at - interval '40 days'"
        " where checks = 'not_bad'"
    )
    things.load(LAX, output__keep_rejected_days=30)
    assert things.rejected() == [("not_worse", "3"), ("type:n", "4")]


def test_the_commands(site: Any) -> None:
    site.install("orders")
    assert site.run("run", "orders").returncode == 0
    shown = site.json("rejected", "orders", "--check", "amount_positive")
    assert [(row["row_key"], row["checks"]) for row in shown] == [
        ("o005", "amount_positive"),
        ("o017", "amount_positive"),
    ]
    assert json.loads(shown[0]["row"])["id"] == "o005"
    table = site.run("rejected", "orders", "--limit", "1").stdout
    assert table.split()[:4] == ["rejected", "at", "checks", "row"]
    report = site.json("run", "orders", "--rejected", "--check", "amount_positive")
    assert report["status"] == "success"
    assert report["rows"] == {"extracted": 2, "rejected": 2, "loaded": 0}
    wrong = site.run("run", "orders", "--check", "amount_positive")
    assert (wrong.returncode, "--check needs --rejected" in wrong.stderr) == (2, True)
    wrong = site.run("run", "orders", "--rejected", "--from", "2026-01-01")
    assert (wrong.returncode, "do not go together" in wrong.stderr) == (2, True)
    wrong = site.run("rejected", "orders", "--check", "amount_positiv")
    assert wrong.returncode == 2
    assert "did you mean 'amount_positive'?" in wrong.stderr
