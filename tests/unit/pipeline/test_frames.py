from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.frames import from_records, to_frame


def column(*values: Any) -> pl.Series:
    return from_records([{"x": value} for value in values])["x"]


def test_a_column_for_each_key_of_any_record() -> None:
    frame = from_records([{"b": 1}, {"a": 2, "b": 3}, {}])
    assert frame.columns == ["b", "a"]
    assert frame.rows() == [(1, None), (3, 2), (None, None)]


def test_no_records() -> None:
    assert from_records([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ((1, None, 3), pl.Int64, [1, None, 3]),
        ((1, 2.5), pl.Float64, [1.0, 2.5]),
        (("a", None), pl.String, ["a", None]),
        ((True, None), pl.Boolean, [True, None]),
        ((None, None), pl.Null, [None, None]),
        ((datetime(2024, 1, 1, tzinfo=UTC),), pl.Datetime, [datetime(2024, 1, 1, tzinfo=UTC)]),
        ((Decimal("1.10"), Decimal("2")), pl.Decimal, [Decimal("1.10"), Decimal("2")]),
        (({"a": 1}, None), pl.String, ['{"a": 1}', None]),
        (([1, "é"], "plain"), pl.String, ['[1, "é"]', "plain"]),
        ((1, "one"), pl.String, ["1", "one"]),
        ((1, "1", {"a": 1}), pl.String, ["1", "1", '{"a": 1}']),
        ((Decimal("1e-10"), None), pl.Decimal(38, 18), [Decimal("1e-10"), None]),
        ((Decimal("NaN"), Decimal(1)), pl.String, ["NaN", "1"]),
        ((Decimal("Infinity"), 1), pl.String, ["Infinity", "1"]),
        ((Decimal("1e80"),), pl.String, ["1E+80"]),
        ((Decimal("1e20"), 2.5), pl.String, ["1E+20", "2.5"]),
        ((2**63 - 1, -(2**63)), pl.Int64, [2**63 - 1, -(2**63)]),
        ((2**64,), pl.String, [str(2**64)]),
        ((2**60 + 1, 0.5), pl.String, [str(2**60 + 1), "0.5"]),
        ((True, 1), pl.String, ["true", "1"]),
        ((1, True), pl.String, ["1", "true"]),
        ((True, "yes"), pl.String, ["true", "yes"]),
        (
            (date(2024, 1, 1), datetime(2024, 1, 1, 12)),
            pl.String,
            ["2024-01-01", "2024-01-01 12:00:00"],
        ),
    ],
)
def test_values_are_kept(values: tuple[Any, ...], dtype: Any, expected: list[Any]) -> None:
    found = column(*values)
    assert found.dtype == dtype
    assert found.to_list() == expected


def test_decimals_of_any_size_are_kept() -> None:
    values = [Decimal("1e20"), Decimal("1e-20")]
    arrow = pa.table({"x": pa.array(values), "y": [1, 2]})
    for found in (column(*values), *(to_frame(rows)["x"] for rows in (arrow, *arrow.to_batches()))):
        assert found.dtype == pl.String
        assert list(map(Decimal, found)) == values


@pytest.mark.parametrize(
    "strange",
    [
        pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
        # A panic, which is a BaseException.
        pa.array([[Decimal(1)]], pa.list_(pa.decimal256(50, 2))),
    ],
)
def test_arrow_data_that_polars_cannot_read_is_an_error(strange: pa.Array) -> None:
    with pytest.raises(DataflowError, match="Arrow data that Polars cannot read") as raised:
        to_frame(pa.table({"x": strange}))
    assert "\n" not in raised.value.message


def test_times_with_offsets_are_stored_in_utc() -> None:
    summer, winter = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
    found = column(datetime(2024, 7, 1, tzinfo=summer), datetime(2024, 1, 1, tzinfo=winter), None)
    assert found.dtype == pl.Datetime("us", "UTC")
    assert found.dt.hour().to_list() == [22, 23, None]


@pytest.mark.parametrize("value", ["cut \ud83d", ["\ud83d"], {"a": "\ud83d"}])
def test_half_of_a_character_is_an_error_that_names_the_column(value: Any) -> None:
    with pytest.raises(DataflowError, match=r"column 'x': a text has '\\ud83d'"):
        column("whole", value)


def test_not_a_number_stays() -> None:
    assert column(1.0, float("nan")).is_nan().to_list() == [False, True]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
VALUES = (
    SCALARS
    | st.lists(SCALARS, max_size=2)
    | st.dictionaries(st.text("ab", max_size=2), SCALARS, max_size=2)
)


@settings(deadline=None)  # how long one takes depends on what else runs
@given(st.lists(VALUES, min_size=1, max_size=4))
def test_nothing_is_lost(values: list[Any]) -> None:
    found = column(*values)
    if found.dtype == pl.String:
        for value, text in zip(values, found, strict=True):
            assert (
                (text == value)
                if value is None or isinstance(value, str)
                else (json.loads(text) == value)
            )
    else:
        assert found.to_list() == values


def test_what_extract_may_yield() -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    table = frame.to_arrow()
    for rows in (
        frame,
        frame.lazy(),
        table,
        table.to_batches()[0],
        [{"a": 1}, {"a": 2}],
        ({"a": 1}, {"a": 2}),
    ):
        assert to_frame(rows).equals(frame)
    assert to_frame([]).is_empty()
    assert to_frame(pa.table({})).is_empty()


@pytest.mark.parametrize("rows", [None, 3, {"a": 1}, "text", [1], [{"a": 1}, 2], iter([{"a": 1}])])
def test_extract_may_not_yield_anything_else(rows: Any) -> None:
    with pytest.raises(
        DataflowError, match=rf"extract\(\) yielded {type(rows).__name__}"
    ) as raised:
        to_frame(rows)
    assert "yield batches of rows" in str(raised.value.hint)
