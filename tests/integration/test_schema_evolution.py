"""Columns that appear, disappear or change type, within a run and between runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.staging import StagedRun

pytestmark = pytest.mark.e2e

Load = Callable[..., StagedRun]


def values(warehouse: Any, columns: str = "id, v") -> list[Any]:
    return warehouse.query(f"select {columns} from things_raw.things order by id")


def rows(*found: Any, first: int = 1) -> list[dict[str, Any]]:
    return [{"id": number, "v": value} for number, value in enumerate(found, first)]


@pytest.mark.parametrize("disposition", ["merge", "append", "replace"])
def test_columns_come_and_go(warehouse: Any, load: Load, disposition: str) -> None:
    settings = {"processing.primary_key": "id", "output.write_disposition": disposition}
    load([[{"id": 1, "old": "a"}]], **settings)
    load([[{"id": 2, "new": 1.5}], [{"id": 3, "newer": True, "new": None}]], **settings)
    found = warehouse.query("select id, old, new, newer from things_raw.things order by id")
    assert found == [
        *([(1, "a", None, None)] if disposition != "replace" else []),
        (2, None, 1.5, None),
        (3, None, None, True),
    ]


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (1, 1.5, "double"),
        (1.5, 1, "double"),
        (1, 2**62 + 1, "bigint"),
        (Decimal("1.5"), 7, "numeric(38,9)"),
        (Decimal("1.5"), Decimal("0.0000000001"), None),
        ("a", 1, "varchar"),
        ("a", date(2024, 1, 1), "varchar"),
        (None, 1, "bigint"),
    ],
)
def test_a_wider_type_in_a_later_run(
    warehouse: Any, load: Load, first: Any, second: Any, kind: str | None
) -> None:
    load([rows(first)])
    if kind is None:  # 38 digits are the most
        with pytest.raises(
            DataflowError, match=r"column 'v' of things_raw.things holds decimals \(38, 9\)"
        ):
            load([rows(second, first=2)])
        return
    load([rows(second, first=2)])
    expected = second if kind != "varchar" else str(second)
    assert values(warehouse) == [(1, first), (2, expected)]
    found = warehouse.columns()["v"]
    assert {"double precision": "double", "character varying": "varchar", "text": "varchar"}.get(
        found, found
    ) == kind


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([1, 1.5], [1.0, 1.5]),
        ([1.5, 1], [1.5, 1.0]),
        ([1, "a", None], ["1", "a", None]),
        (["a", 1], ["a", "1"]),
        ([None, 1], [None, 1]),
        ([True, "a"], ["true", "a"]),
        ([{"a": 1}, "a"], ['{"a": 1}', "a"]),
    ],
)
def test_batches_of_differing_types(
    warehouse: Any, load: Load, batches: list[Any], expected: list[Any]
) -> None:
    load(
        [rows(value, first=number) for number, value in enumerate(batches)],
        processing__batch_size=1,
    )
    assert [value for _, value in values(warehouse)] == expected


def test_views_on_a_column_that_is_widened_stay(warehouse: Any, load: Load) -> None:
    load([rows(1)])
    warehouse.query("create schema if not exists things_marts")
    warehouse.query("create view things_marts.stg as select id, v from things_raw.things")
    warehouse.query("create view things_marts.fct as select sum(v) as total from things_marts.stg")
    load([rows(1.5, first=2)])
    if warehouse.kind == "postgres":
        assert warehouse.query("select total from things_marts.fct") == [(2.5,)]
    warehouse.query("drop schema things_marts cascade")


@pytest.mark.parametrize(
    ("first", "second"),
    [(1, "x"), (1.5, "x"), (True, 1), (date(2024, 1, 1), "soon"), (2**53 + 1, 0.5)],
)
def test_a_type_that_the_table_cannot_take_is_refused_by_name(
    warehouse: Any, load: Load, first: Any, second: Any
) -> None:
    load([rows(first, first)])
    with pytest.raises(DataflowError, match=r"column 'v' ") as raised:
        load([[{"id": 3, "v": second, "new": 1}]])
    assert "processing.columns" in str(raised.value.hint)
    assert "\n" not in raised.value.message
    assert list(warehouse.columns()) == ["id", "v"]
    assert values(warehouse) == [(1, first), (2, first)]


@pytest.mark.parametrize("disposition", ["merge", "append", "replace"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "v": 2, "new": 3}, "column 'new' is new, and table things_raw.things is frozen"),
        (
            {"id": 1, "v": 2.5},
            "column 'v' of things_raw.things holds integers, the rows have floats",
        ),
        ({"id": 1, "v": "x"}, "column 'v' of things_raw.things holds integers, the rows have text"),
    ],
)
def test_a_frozen_table_refuses_and_nothing_is_loaded(
    warehouse: Any, load: Load, disposition: str, row: dict[str, Any], message: str
) -> None:
    settings = {
        "processing.primary_key": "id",
        "output.write_disposition": disposition,
        "output.schema_contract": "freeze",
    }
    load([[{"id": 1, "v": 1}]], **settings)
    with pytest.raises(DataflowError, match=message) as raised:
        load([[row]], **settings)
    assert "transform()" in str(raised.value.hint) or "processing.columns" in str(raised.value.hint)
    assert values(warehouse) == [(1, 1)]
    assert list(warehouse.columns()) == ["id", "v"]
    load([[{"id": 1, "v": 3}], [{"id": 2}]], **{**settings, "output.write_disposition": "replace"})
    assert values(warehouse) == [(1, 3), (2, None)]


def test_the_tables_of_release_0_3_are_loaded_into(warehouse: Any, load: Load) -> None:
    text = "varchar" if warehouse.kind == "duckdb" else "character varying"
    warehouse.query("create schema things_raw")
    warehouse.query(
        f"create table things_raw.things (id bigint not null, v {text}, seen timestamptz)"
    )
    warehouse.query(
        f'create table things_raw.things_rejected (row_key {text} not null, checks {text}, "row"'
        f" {text}, run_id {text}, rejected_at timestamptz)"
    )
    warehouse.query(f"create table things_raw._dlt_loads (load_id {text} not null)")
    warehouse.query("insert into things_raw.things values (1, 'old', '2024-01-02'), (2, 'b', null)")
    warehouse.query("insert into things_raw.things_rejected values ('3', 'good', '{}', 'r', now())")
    rows = [
        {"id": 1, "v": "new", "seen": "2024-01-03"},
        {"id": 3, "v": "corrected", "seen": "2024-01-02"},
        {"id": 4, "v": "before the cursor", "seen": "2023-12-31"},
    ]
    run = load(
        [rows],
        processing__primary_key="id",
        processing__columns={"id": "integer", "v": "string", "seen": "timestamp"},
        processing__cursor={"column": "seen"},
    )
    assert run.loaded == 2
    assert values(warehouse) == [(1, "new"), (2, "b"), (3, "corrected")]
    assert warehouse.query("select count(*) from things_raw.things_rejected") == [(0,)]


@pytest.mark.parametrize("sign", [1, -1])
def test_an_integer_that_no_float_holds_is_refused_beside_fractions(
    warehouse: Any, load: Load, sign: int
) -> None:
    load([rows(0.5)])
    with pytest.raises(DataflowError, match=r"integers above 2\^53 beside fractions"):
        load([rows(sign * (2**53 + 1), first=2)])
    assert values(warehouse) == [(1, 0.5)]
