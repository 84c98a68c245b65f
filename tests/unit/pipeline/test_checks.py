from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.checks import REJECTED_SCHEMA, check_rows


@dataclass
class Outcome:
    accepted: pl.DataFrame
    rejected: pl.DataFrame


Process = Callable[..., Outcome]


@pytest.fixture(params=["lazy", "frames"])
def process(request: pytest.FixtureRequest) -> Process:
    """Check rows with a transform that takes a LazyFrame, and with one that takes DataFrames."""

    def run(rows: list[dict[str, Any]] | pl.DataFrame, **options: Any) -> Outcome:
        transform = options.pop("transform", lambda rows: rows)

        def lazy(rows: pl.LazyFrame) -> Any:
            return transform(rows)

        def frames(rows: pl.DataFrame) -> Any:
            return transform(rows)

        rejected: list[pl.DataFrame] = []
        accepted = check_rows(
            pl.LazyFrame(rows),
            transform=lazy if request.param == "lazy" else frames,
            on_rejected=rejected.append,
            **{"columns": {}, "checks": {}, "primary_key": [], **options},
        ).collect()
        return Outcome(accepted, pl.concat([pl.DataFrame(schema=REJECTED_SCHEMA), *rejected]))

    return run


def rejected(outcome: Outcome) -> list[tuple[str, str, Any]]:
    # Their order is that of Polars' threads.
    rows = sorted(outcome.rejected.rows())
    return [(key, checks, json.loads(row)) for key, checks, row in rows]


def test_nothing_to_check_passes_everything(process: Process) -> None:
    outcome = process([{"a": 1}, {"a": None}])
    assert outcome.accepted.to_dicts() == [{"a": 1}, {"a": None}]
    assert outcome.rejected.is_empty()
    assert outcome.rejected.columns == ["row_key", "checks", "row"]


def test_false_is_rejected_and_null_passes(process: Process) -> None:
    outcome = process(
        [{"id": 1, "a": 1}, {"id": 2, "a": -1}, {"id": 3, "a": None}],
        checks={"positive": pl.col("a") > 0},
        primary_key=["id"],
    )
    assert outcome.accepted["id"].to_list() == [1, 3]
    assert rejected(outcome) == [("2", "positive", {"id": 2, "a": -1})]


def test_every_failed_check_is_named(process: Process) -> None:
    checks = {"positive": pl.col("a") > 0, "even": pl.col("a") % 2 == 0, "small": pl.col("a") < 10}
    outcome = process([{"id": "x", "a": -1}], checks=checks, primary_key=["id"])
    assert rejected(outcome) == [("x", "positive,even", {"id": "x", "a": -1})]


def test_a_null_primary_key_is_rejected(process: Process) -> None:
    outcome = process(
        [{"a": 1, "b": "x"}, {"a": None, "b": "y"}, {"a": 3, "b": None}], primary_key=["a", "b"]
    )
    assert outcome.accepted.rows() == [(1, "x")]
    found = rejected(outcome)
    assert [checks for _, checks, _ in found] == ["primary_key", "primary_key"]
    keys = [key for key, _, _ in found]
    assert all(key.startswith("sha256:") for key in keys)
    assert len(set(keys)) == 2


def test_the_key_of_a_rejected_row(process: Process) -> None:
    never = {"never": pl.lit(value=False)}
    assert process([{"a": 7}], checks=never, primary_key=["a"]).rejected["row_key"].to_list() == [
        "7"
    ]
    both = process([{"a": 7, "b": "x,y"}], checks=never, primary_key=["a", "b"])
    assert both.rejected["row_key"].to_list() == ['["7", "x,y"]']
    (first,), (again,), (other,) = (
        process([{"a": value}], checks=never).rejected["row_key"].to_list() for value in (1, 1, 2)
    )
    assert first == again != other


def test_a_value_that_is_not_of_its_type_rejects_the_row_with_the_value(process: Process) -> None:
    outcome = process(
        [
            {"id": "1", "n": "5", "at": "2024-01-01"},
            {"id": "2", "n": "five", "at": "soon"},
            {"id": "3", "n": None, "at": ""},
        ],
        columns={"n": "integer", "at": "timestamp"},
        primary_key=["id"],
    )
    assert outcome.accepted["id"].to_list() == ["1"]
    assert rejected(outcome) == [
        ("2", "type:n,type:at", {"id": "2", "n": "five", "at": "soon"}),
        ("3", "type:at", {"id": "3", "n": None, "at": ""}),
    ]


def test_transform_sees_typed_rows_only(process: Process) -> None:
    def transform(rows: pl.DataFrame) -> pl.DataFrame:
        assert rows.lazy().collect_schema()["n"] == pl.Int64
        return rows.with_columns(double=pl.col("n") * 2)

    outcome = process(
        [{"n": "1"}, {"n": "x"}, {"n": "3"}], columns={"n": "integer"}, transform=transform
    )
    assert outcome.accepted.to_dicts() == [{"n": 1, "double": 2}, {"n": 3, "double": 6}]


def test_a_rejected_row_holds_the_sources_values(process: Process) -> None:
    outcome = process(
        [{"id": " A ", "n": "07"}],
        columns={"n": "integer"},
        transform=lambda rows: rows.with_columns(pl.col("id").str.strip_chars(), n=-pl.col("n")),
        checks={"positive": pl.col("n") > 0},
    )
    assert rejected(outcome)[0][1:] == ("positive", {"id": " A ", "n": "07"})


def test_a_rejected_row_holds_the_sources_values_where_rows_moved(process: Process) -> None:
    outcome = process(
        [{"id": "a", "n": 1}, {"id": "b", "n": -2}, {"id": "c", "n": 3}, {"id": "d", "n": -4}],
        transform=lambda rows: rows.sort("n").rename({"n": "m"}).filter(pl.col("id") != "c"),
        checks={"positive": pl.col("m") > 0},
        primary_key=["id"],
    )
    assert outcome.accepted.to_dicts() == [{"id": "a", "m": 1}]
    assert rejected(outcome) == [
        ("b", "positive", {"id": "b", "n": -2}),
        ("d", "positive", {"id": "d", "n": -4}),
    ]


def test_without_its_source_a_rejected_row_holds_the_transformed_values(process: Process) -> None:
    outcome = process(
        [{"id": "a", "n": 1}, {"id": "a", "n": -5}],
        transform=lambda rows: rows.group_by("id").agg(total=pl.col("n").sum()),
        checks={"positive": pl.col("total") > 0},
        primary_key=["id"],
    )
    assert outcome.accepted.is_empty()
    assert rejected(outcome) == [("a", "positive", {"id": "a", "total": -4})]


def test_a_row_that_transform_made_into_two_is_rejected_as_often(process: Process) -> None:
    outcome = process(
        [{"id": "a", "n": [1, -2, -3]}],
        transform=lambda rows: rows.explode("n"),
        checks={"positive": pl.col("n") > 0},
    )
    assert outcome.accepted["n"].to_list() == [1]
    assert [row for _, _, row in rejected(outcome)] == [{"id": "a", "n": [1, -2, -3]}] * 2


def test_the_source_is_not_loaded(process: Process) -> None:
    assert process([{"a": 1}]).accepted.columns == ["a"]


def test_a_source_with_a_column_of_the_runtimes_name(process: Process) -> None:
    with pytest.raises(DataflowError, match="_source"):
        process([{"_source": 1, "a": 2}])


def test_a_primary_key_that_transform_makes(process: Process) -> None:
    outcome = process(
        [{"a": 1}, {"a": 2}],
        transform=lambda rows: rows.with_columns(key=pl.when(pl.col("a") > 1).then(pl.col("a"))),
        primary_key=["key"],
    )
    assert outcome.accepted["key"].to_list() == [2]
    assert rejected(outcome)[0][1:] == ("primary_key", {"a": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"b": "integer"}}, "processing.columns: the source has no column 'b'"),
        ({"primary_key": ["b"]}, "processing.primary_key: the transformed rows have no column 'b'"),
        (
            {"transform": lambda _: None},
            r"transform\(\) returned NoneType, expected a Polars frame",
        ),
        ({"checks": {"odd": pl.col("gone") > 0}}, "check 'odd' cannot be evaluated: .*gone"),
        ({"checks": {"odd": pl.col("a") + 1}}, "check 'odd'"),
        ({"checks": {"odd": pl.col("a").str.len_chars() > 0}}, "check 'odd' cannot be evaluated"),
        ({"checks": {"odd": "a > 0"}}, "check 'odd' cannot be evaluated"),
        ({"checks": {"odd": pl.Series([True])}}, "check 'odd' cannot be evaluated"),
    ],
)
def test_mistakes_are_named(process: Process, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataflowError, match=message):
        process([{"a": 1}, {"a": 2}], **options)


def test_a_check_of_the_whole_batch_rejects_all_of_it(process: Process) -> None:
    outcome = process([{"a": 1}, {"a": 1}], checks={"unique": pl.col("a").n_unique() == pl.len()})
    assert (outcome.accepted.height, outcome.rejected.height) == (0, 2)


def test_an_empty_batch_keeps_its_columns(process: Process) -> None:
    outcome = process(
        pl.DataFrame(schema={"id": pl.String, "n": pl.Int64}),
        columns={"n": "integer"},
        checks={"positive": pl.col("n") > 0},
        primary_key=["id"],
    )
    assert outcome.accepted.schema == {"id": pl.String, "n": pl.Int64}
    assert outcome.rejected.is_empty()


def test_no_row_is_lost(process: Process) -> None:
    rows = [{"id": n, "v": str(n) if n % 3 else "x"} for n in range(1000)]
    outcome = process(
        rows, columns={"v": "integer"}, checks={"even": pl.col("v") % 2 == 0}, primary_key=["id"]
    )
    ids = outcome.accepted["id"].to_list() + [
        json.loads(row)["id"] for row in outcome.rejected["row"]
    ]
    assert sorted(ids) == list(range(1000))


def test_a_check_may_compare_a_row_with_all_others(process: Process) -> None:
    rows = [{"id": 1, "n": 1}, {"id": 2, "n": 7}, {"id": 3, "n": 7}]
    outcome = process(rows, checks={"once": pl.col("n").is_unique()}, primary_key=["id"])
    assert outcome.accepted["id"].to_list() == [1]
    assert [key for key, _, _ in rejected(outcome)] == ["2", "3"]
