"""Parses the columns that ``processing.columns`` declares. Types are declared, never guessed."""

from __future__ import annotations

from decimal import Decimal

import polars as pl

from dataflow_runtime.config.base import decimal_digits

__all__ = ["DTYPES", "as_json", "cast", "dtype_of", "parse"]

_TIMESTAMP = pl.Datetime("us", "UTC")

DTYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "float": pl.Float64(),
    "decimal": pl.Decimal(38, 9),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "timestamp": _TIMESTAMP,
    "epoch_s": _TIMESTAMP,
    "epoch_ms": _TIMESTAMP,
    "json": pl.String(),
}
"""The Polars type of each type that a column can be declared as; see `dtype_of`."""

# The years 1 to 9999, beyond which neither Python nor the warehouses go.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799

_TRUE, _FALSE = ["true", "t", "yes", "y", "1"], ["false", "f", "no", "n", "0"]


def _timestamp_formats() -> list[str]:
    """Return ISO 8601 with or without an offset (then UTC), seconds and fraction optional."""
    fixed = [
        f"%Y-%m-%d{separator}%H:%M:%S{fraction}{zone}"
        for separator in "T "
        for fraction in ("", ".%3f", ".%6f")
        for zone in ("", "Z")
    ]
    flexible = [
        f"%Y-%m-%d{separator}%H:%M{seconds}{zone}"
        for separator in "T "
        for seconds in ("", ":%S%.f")
        for zone in ("", "%#z")
    ]
    # Polars reads the formats of fixed width several times faster.
    return [*fixed, *flexible, "%Y-%m-%d"]


_TIMESTAMPS = _timestamp_formats()


def dtype_of(kind: str) -> pl.DataType:
    """Return the type of a column declared as `kind`: a key of `DTYPES`, or ``decimal(p, s)``."""
    digits = decimal_digits(kind)
    return pl.Decimal(*digits) if digits else DTYPES[kind]


def cast(column: pl.Expr, found: pl.DataType, kind: str) -> pl.Expr:
    """Return the expression that reads a column of type `found` as `kind`.

    A value that is not of this kind becomes null.
    """
    dtype = dtype_of(kind)
    if found == dtype:
        return column
    return column.map_batches(
        lambda values: parse(values, kind), return_dtype=dtype, is_elementwise=True
    )


def parse(values: pl.Series, kind: str) -> pl.Series:
    """Return the values of a column as `kind`; one that is not of this kind becomes null.

    Args:
        values: The column as the source yields it.
        kind: As `dtype_of` takes it. Text is read as ISO 8601 for dates and times, UTC where it
            names no offset.
    """
    dtype = dtype_of(kind)
    if values.dtype in (dtype, pl.Null):
        return values.cast(dtype)
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if kind in ("string", "json"):
        return _texts(values)
    if values.dtype.is_nested():
        return _nulls(values, dtype)
    if isinstance(dtype, pl.Decimal):
        return _decimals(values, dtype)
    if kind in ("epoch_s", "epoch_ms"):
        return _epochs(values, 1 if kind == "epoch_s" else 1000)
    if values.dtype == pl.String:
        return _from_text(values.str.strip_chars(), kind)
    if kind == "boolean":
        return _from_text(_cast(values, pl.String()).str.strip_suffix(".0"), kind)
    if kind in ("date", "timestamp"):
        return _from_time(values, dtype)
    return _numbers(values, dtype)


def as_json(column: pl.Expr) -> pl.Expr:
    """Return each value of a nested column as JSON text, null as null."""
    wrapped = pl.struct(column.alias("v")).struct.json_encode()  # {"v":…}
    return pl.when(column.is_not_null()).then(wrapped.str.slice(5).str.head(-1))


def _texts(values: pl.Series) -> pl.Series:
    if not values.dtype.is_nested():
        return _cast(values, pl.String())
    texts = values.alias("v").to_frame().select(as_json(pl.col("v")))
    return texts.to_series().alias(values.name)


def _from_time(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    # A number is not a date: its unit is unknown. Declare epoch_s or epoch_ms.
    if values.dtype not in (pl.Date, pl.Datetime):
        return _nulls(values, dtype)
    if dtype == pl.Date or getattr(values.dtype, "time_zone", None) is not None:
        return _cast(values, dtype)
    return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _numbers(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    if dtype.is_integer() and values.dtype.is_float():
        # 3.0 is an integer; 3.5 is not: it would be cut off.
        values = values.set(values != values.floor(), None)
    return _cast(values, dtype)


def _epochs(values: pl.Series, scale: int) -> pl.Series:
    number = parse(values, "integer")
    known = number.is_between(_FIRST_SECOND * scale, (_LAST_SECOND + 1) * scale - 1)
    number = number.set(~known, None) * (1_000_000 // scale)
    return pl.from_epoch(number, time_unit="us").cast(_TIMESTAMP)


def _decimals(values: pl.Series, dtype: pl.Decimal) -> pl.Series:
    """Return the values with all their digits; one with more than the type has becomes null.

    Floats are rounded: most of them have no last digit.
    """
    scale = dtype.scale
    if values.dtype.is_float():
        too_large = ~(values.round(scale).abs() < 10.0 ** (dtype.precision - scale))
        return _cast(values.set(too_large, None), dtype)
    if values.dtype != pl.String and not values.dtype.is_decimal():
        return _cast(values, dtype)
    texts = _cast(values, pl.String()).str.strip_chars()
    cut = texts.str.contains(rf"\.\d{{{scale}}}\d*[1-9]")
    powers = texts.str.contains("[eE]")  # "1e-12" has twelve places
    if powers.any():
        places = texts.set(~powers, None).map_elements(_places, return_dtype=pl.Int64)
        cut |= (places > scale).fill_null(value=False)
    return texts.set(cut, None).cast(dtype, strict=False)


def _places(text: str) -> int:
    try:
        exponent = Decimal(text).normalize().as_tuple().exponent
    except ArithmeticError:
        return 0
    return -exponent if isinstance(exponent, int) else 0


def _cast(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    try:
        return values.cast(dtype, strict=False)
    except pl.exceptions.PolarsError:  # no value of the one type is one of the other
        return _nulls(values, dtype)


def _nulls(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    return pl.Series(values.name, [None], dtype=dtype).new_from_index(0, len(values))


def _from_text(texts: pl.Series, kind: str) -> pl.Series:
    if kind == "boolean":
        words = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}
        return texts.str.to_lowercase().replace_strict(words, default=None)
    if kind == "date":
        return texts.str.to_date("%Y-%m-%d", strict=False)
    if kind == "timestamp":
        return _timestamps(texts)
    numbers = texts.cast(DTYPES[kind], strict=False)
    if kind == "float" and numbers.is_infinite().any():
        # 1e309 is a number that no float holds; "inf" is a float.
        numbers = numbers.set(numbers.is_infinite() & texts.str.contains(r"\d"), None)
    return numbers


def _timestamps(texts: pl.Series) -> pl.Series:
    """Parse each text by the first format that fits it.

    A column mostly has one format, so the one that fits the first value is tried first.
    """
    first = texts.drop_nulls().head(1)
    fitting = (format_ for format_ in _TIMESTAMPS if not _timestamp(first, format_).null_count())
    parsed = _timestamp(texts, next(fitting, _TIMESTAMPS[0]))
    for format_ in _TIMESTAMPS:
        rest = (parsed.is_null() & texts.is_not_null()).arg_true()
        if rest.is_empty():
            break
        parsed = parsed.scatter(rest, _timestamp(texts.gather(rest), format_))
    return parsed


def _timestamp(texts: pl.Series, format_: str) -> pl.Series:
    if format_ == "%Y-%m-%d":
        days = texts.str.to_date(format_, strict=False)
        return days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if format_.endswith("z"):
        return texts.str.to_datetime(format_, time_unit="us", time_zone="UTC", strict=False)
    times = texts.str.to_datetime(format_, time_unit="us", strict=False)
    return times.dt.replace_time_zone("UTC")
