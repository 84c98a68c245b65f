from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_runtime.pipeline.casting import DTYPES, dtype_of, parse


def parsed(values: list[Any], kind: str, dtype: Any = None) -> list[Any]:
    result = parse(pl.Series("x", values, dtype=dtype, strict=False), kind)
    assert (result.name, result.dtype, len(result)) == ("x", dtype_of(kind), len(values))
    return result.to_list()


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize("kind", DTYPES)
def test_nulls_stay_and_words_that_are_none_become_null(kind: str) -> None:
    assert parsed([None, None], kind) == [None, None]
    assert parsed([], kind, pl.String) == []
    word = "no value" if kind in ("string", "json") else None
    assert parsed(["no value", None], kind) == [word, None]


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize(
    "values",
    [
        pl.Series("x", [b"\xff", None]),
        pl.Series("x", [timedelta(1), None]),
        pl.Series("x", [[1], None]),
        pl.Series("x", [{"a": 1}, None]),
        pl.Series("x", [datetime(2024, 1, 1).time(), None]),
        pl.Series("x", ["a", None], dtype=pl.Categorical),
        pl.Series("x", [2**70, None], dtype=pl.Int128),
    ],
    ids=lambda values: str(values.dtype),
)
def test_no_type_of_a_source_is_an_exception(values: pl.Series, kind: str) -> None:
    result = parse(values, kind)
    assert result.dtype == DTYPES[kind]
    assert result[1] is None


@pytest.mark.parametrize(
    ("kind", "texts", "expected"),
    [
        (
            "integer",
            ["1", " -2 ", "+3", "1.5", "1e3", "9223372036854775808", "x", ""],
            [1, -2, 3, *[None] * 5],
        ),
        ("float", ["1", " 2.5 ", "1e3", "-.5", "x"], [1.0, 2.5, 1000.0, -0.5, None]),
        (
            "decimal",
            ["1.10", "-0.000000001", "x"],
            [Decimal("1.10"), Decimal("-0.000000001"), None],
        ),
        (
            "boolean",
            ["true", "F", " Yes ", "0", "y", "2", ""],
            [True, False, True, False, True, None, None],
        ),
        (
            "date",
            ["2024-02-29", "2023-02-29", "2024-1", "29.2.2024"],
            [date(2024, 2, 29), None, None, None],
        ),
        ("string", [" kept as it is "], [" kept as it is "]),
        (
            "epoch_s",
            ["0", "1700000000", "-1", "x"],
            [utc(1970, 1, 1), utc(2023, 11, 14, 22, 13, 20), ..., None],
        ),
        (
            "epoch_ms",
            ["1700000000123", None],
            [datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC), None],
        ),
    ],
)
def test_text(kind: str, texts: list[str], expected: list[Any]) -> None:
    found = parsed(texts, kind, pl.String)
    assert [value for value, wanted in zip(found, expected, strict=True) if wanted is not ...] == [
        wanted for wanted in expected if wanted is not ...
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-01T12:30:45Z", utc(2024, 3, 1, 12, 30, 45)),
        ("2024-03-01T12:30:45.123456Z", utc(2024, 3, 1, 12, 30, 45, 123_456)),
        ("2024-03-01T12:30:45+02:00", utc(2024, 3, 1, 10, 30, 45)),
        ("2024-03-01T12:30:45-0330", utc(2024, 3, 1, 16, 0, 45)),
        ("2024-03-01T12:30:45", utc(2024, 3, 1, 12, 30, 45)),
        ("2024-03-01 12:30:45", utc(2024, 3, 1, 12, 30, 45)),
        ("2024-03-01 12:30:45+00", utc(2024, 3, 1, 12, 30, 45)),
        ("2024-03-01T12:30", utc(2024, 3, 1, 12, 30)),
        ("2024-03-01T12:30Z", utc(2024, 3, 1, 12, 30)),
        ("2024-03-01", utc(2024, 3, 1)),
        (" 2024-03-01 ", utc(2024, 3, 1)),
        ("2024-02-30T00:00:00Z", None),
        ("2024-03-01T25:00:00Z", None),
        ("1709296245", None),
        ("01.03.2024", None),
        ("2024-03-01T12:30:45Z and more", None),
    ],
)
def test_timestamps(text: str, expected: datetime | None) -> None:
    assert parsed([text], "timestamp") == [expected]
    # The form of the first value decides nothing about the others.
    assert parsed(["2024-01-01", text], "timestamp") == [utc(2024, 1, 1), expected]
    assert parsed(["2024-01-01T00:00:00Z", None, text], "timestamp") == [
        utc(2024, 1, 1),
        None,
        expected,
    ]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("integer", [3.0, 3.5, float("nan"), float("inf"), 1e300], [3, *[None] * 4]),
        ("integer", [True, False], [1, 0]),
        ("float", [1, 2], [1.0, 2.0]),
        ("decimal", [1, 2], [Decimal(1), Decimal(2)]),
        ("decimal", [1.5, float("nan")], [Decimal("1.5"), None]),
        ("boolean", [1, 0, 2], [True, False, None]),
        ("boolean", [1.0, 0.0, 0.5], [True, False, None]),
        ("string", [1, 2], ["1", "2"]),
        ("date", [20240101], [None]),
        ("timestamp", [1_700_000_000], [None]),
        ("timestamp", [date(2024, 1, 2)], [utc(2024, 1, 2)]),
        ("timestamp", [datetime(2024, 1, 2, 3)], [utc(2024, 1, 2, 3)]),
        ("date", [datetime(2024, 1, 2, 3)], [date(2024, 1, 2)]),
        ("epoch_ms", [1_700_000_000_000.0], [utc(2023, 11, 14, 22, 13, 20)]),
        ("epoch_s", [10**18], [None]),
    ],
)
def test_typed_values(kind: str, values: list[Any], expected: list[Any]) -> None:
    assert parsed(values, kind) == expected


def test_timestamps_of_another_zone_are_converted() -> None:
    berlin = pl.Series("x", [datetime(2024, 7, 1, 12)]).dt.replace_time_zone("Europe/Berlin")
    assert parse(berlin, "timestamp").to_list() == [utc(2024, 7, 1, 10)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([{"a": 1, "b": None}], '{"a":1,"b":null}'),
        ([[1, 2]], "[1,2]"),
        ([[{"a": "x"}]], '[{"a":"x"}]'),
    ],
)
def test_nested_values_as_json(values: list[Any], expected: str) -> None:
    assert parsed(values, "json") == [expected]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("decimal", ["0.123456789", "1e3", " +.5 ", "-0.0"], ["0.123456789", "1000", "0.5", "0"]),
        ("decimal", ["0.1234567896", "1e-10", "1" + "0" * 29], [None, None, None]),
        (
            "decimal(38, 20)",
            ["0.12345678901234567891", "1e-20"],
            ["0.12345678901234567891", "1e-20"],
        ),
        (
            "decimal(5,2)",
            ["999.99", "9.990", "9.991", "1000", "x"],
            ["999.99", "9.99", None, None, None],
        ),
        (
            "decimal(38,0)",
            ["9" * 38, "-" + "9" * 38, "9" * 39, "1.0"],
            ["9" * 38, "-" + "9" * 38, None, "1"],
        ),
        ("decimal(5,2)", [Decimal("9.990"), Decimal("9.991"), Decimal(1000)], ["9.99", None, None]),
        ("decimal(5,2)", [999, 1000], ["999", None]),
        # Floats are rounded to the scale; one that is too large becomes null, the others stay.
        (
            "decimal(5,2)",
            [0.1 + 0.2, 999.999, 1e30, float("inf"), -1.5],
            ["0.30", None, None, None, "-1.5"],
        ),
    ],
)
def test_a_decimal_has_all_its_digits_or_is_none(
    kind: str, values: list[Any], expected: list[str | None]
) -> None:
    assert parsed(values, kind) == [None if text is None else Decimal(text) for text in expected]


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_come_back(value: int) -> None:
    assert parsed([str(value)], "integer") == [value]


@given(st.floats(allow_nan=False))
def test_floats_come_back(value: float) -> None:
    assert parsed([repr(value)], "float") == [value]


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=9, min_value=-(10**20), max_value=10**20
    )
)
def test_decimals_come_back(value: Decimal) -> None:
    assert parsed([f"{value:f}"], "decimal") == [value]


@given(st.dates())
def test_dates_come_back(value: date) -> None:
    assert parsed([value.isoformat()], "date") == [value]


ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)


@given(st.lists(TIMES, min_size=1, max_size=5), st.sampled_from(["T", " "]))
def test_timestamps_come_back(values: list[datetime], separator: str) -> None:
    assert parsed([value.isoformat(separator) for value in values], "timestamp") == values


@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_epochs_come_back(seconds: int) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    assert parsed([str(seconds)], "epoch_s") == parsed([seconds * 1000], "epoch_ms") == [expected]
