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
"""The warehouse type, as Polars has it, of each type that a column can be declared as; see `dtype_of`."""

# Of the years 1 to 9999, beyond which neither Python nor the warehouses go.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799

_TRUE, _FALSE = ["true", "t", "yes", "y", "1"], ["false", "f", "no", "n", "0"]
# ISO 8601: with an offset or without one (then UTC), seconds and their fraction optional; or a date alone. Polars reads
# the ones of fixed width several times faster, so they stand first.
_TIMESTAMPS = (
    *(
        f"%Y-%m-%d{separator}%H:%M:%S{fraction}{zone}"
        for separator in "T "
        for fraction in ("", ".%3f", ".%6f")
        for zone in ("", "Z")
    ),
    *(
        f"%Y-%m-%d{separator}%H:%M{seconds}{zone}"
        for separator in "T "
        for seconds in ("", ":%S%.f")
        for zone in ("", "%#z")
    ),
    "%Y-%m-%d",
)


def dtype_of(kind: str) -> pl.DataType:
    """Return the type of a column declared as `kind`: a key of `DTYPES`, or ``decimal(precision, scale)``."""
    digits = decimal_digits(kind)
    return pl.Decimal(*digits) if digits else DTYPES[kind]


def cast(column: pl.Expr, found: pl.DataType, kind: str) -> pl.Expr:
    """Return the expression that reads a column of type `found` as `kind`.

    A value that is not of this kind becomes null.
    """
    dtype = dtype_of(kind)
    if found == dtype:
        return column
    if found == pl.String and kind == "integer":
        return column.str.strip_chars().cast(dtype, strict=False)
    return column.map_batches(
        lambda values: parse(values, kind), return_dtype=dtype, is_elementwise=True
    )


def parse(values: pl.Series, kind: str) -> pl.Series:
    """Return the values of a column as `kind`; one that is not of this kind becomes null.

    Args:
        values: The column as the source yields it.
        kind: As `dtype_of` takes it. Text is read as ISO 8601 for dates and times (UTC where it names no offset).
    """
    dtype, found = dtype_of(kind), values.dtype
    if found in (dtype, pl.Null):
        return values.cast(dtype)
    if found.is_nested():
        if dtype != pl.String:
            return _nulls(values, dtype)
        texts = values.alias("v").to_frame().select(as_json(pl.col("v")))
        return texts.to_series().alias(values.name)
    if found in (pl.Categorical, pl.Enum):
        return parse(values.cast(pl.String), kind)
    if kind in ("string", "json"):
        return _cast(values, dtype)
    if kind in ("epoch_s", "epoch_ms"):
        scale = 1 if kind == "epoch_s" else 1000
        number = parse(values, "integer")
        known = number.is_between(_FIRST_SECOND * scale, _LAST_SECOND * scale + scale - 1)
        return pl.from_epoch(number.set(~known, None), time_unit="s" if scale == 1 else "ms").cast(
            dtype
        )
    if isinstance(dtype, pl.Decimal):
        return _decimals(values, dtype)
    if found == pl.String:
        return _from_text(values.str.strip_chars(), kind)
    if kind == "integer" and found.is_float():
        # 3.0 is an integer, 3.5 is not: it would be cut off.
        return values.set(values != values.floor(), None).cast(pl.Int64, strict=False)
    if kind == "boolean":
        return _from_text(_cast(values, pl.String()).str.strip_suffix(".0"), kind)
    if kind in ("date", "timestamp"):
        # A number is no date: which unit would it be in? Declare epoch_s or epoch_ms.
        if not found.is_temporal() or found in (pl.Time, pl.Duration):
            return _nulls(values, dtype)
        if kind == "timestamp" and getattr(found, "time_zone", None) is None:
            return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return _cast(values, dtype)


def as_json(column: pl.Expr) -> pl.Expr:
    """Return each value of a nested column as JSON text, null as null."""
    wrapped = pl.struct(column.alias("v")).struct.json_encode()  # {"v":…}
    return pl.when(column.is_not_null()).then(wrapped.str.slice(5).str.head(-1))


def _decimals(values: pl.Series, dtype: pl.Decimal) -> pl.Series:
    """Return the values with all their digits; one that has more than the type becomes null, as 3.5 is no integer.

    Floats are rounded: most of them have no last digit.
    """
    texts, scale = values, dtype.scale
    if values.dtype.is_float():
        return _cast(
            values.set(~(values.round(scale).abs() < 10.0 ** (dtype.precision - scale)), None),
            dtype,
        )
    if values.dtype.is_decimal():
        texts = _cast(values, pl.String())
    elif values.dtype != pl.String:
        return _cast(values, dtype)
    texts = texts.str.strip_chars()
    cut = texts.str.contains(rf"\.\d{{{scale}}}\d*[1-9]")
    powers = texts.str.contains("[eE]")  # "1e-12" has twelve places
    if powers.any():
        cut |= powers & texts.set(~powers, None).map_elements(
            lambda text: _places(text) > scale, return_dtype=pl.Boolean
        )
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
        lower = texts.str.to_lowercase()
        return lower.replace_strict(
            {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}, default=None
        )
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
    """Parse each text by the first format that fits it: a column mostly has one, so the first value's goes first."""
    first = texts.drop_nulls().head(1)
    fits = next(
        (format_ for format_ in _TIMESTAMPS if not _timestamp(first, format_).null_count()),
        _TIMESTAMPS[0],
    )
    parsed = _timestamp(texts, fits)
    for format_ in _TIMESTAMPS:
        rest = (parsed.is_null() & texts.is_not_null()).arg_true()
        if rest.is_empty():
            break
        parsed = parsed.scatter(rest, _timestamp(texts.gather(rest), format_))
    return parsed


def _timestamp(texts: pl.Series, format_: str) -> pl.Series:
    if format_ == "%Y-%m-%d":
        return (
            texts.str.to_date(format_, strict=False)
            .cast(pl.Datetime("us"))
            .dt.replace_time_zone("UTC")
        )
    if format_.endswith("z"):
        return texts.str.to_datetime(format_, time_unit="us", time_zone="UTC", strict=False)
    return texts.str.to_datetime(format_, time_unit="us", strict=False).dt.replace_time_zone("UTC")
