"""Parses the columns that ``processing.columns`` declares. Types are declared, never guessed from the data."""

from __future__ import annotations

import polars as pl

__all__ = ["DTYPES", "parse"]

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
"""The warehouse type, as Polars has it, of each type that a column can be declared as."""

_TRUE, _FALSE = ["true", "t", "yes", "y", "1"], ["false", "f", "no", "n", "0"]
# RFC 3339 with an offset or without one (then UTC), seconds and their fraction optional; or a date alone.
_WITH_OFFSET = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")
_WITHOUT_OFFSET = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")


def parse(name: str, found: pl.DataType, kind: str) -> pl.Expr:
    """Return the column as `kind`; a value that is not one becomes null.

    Args:
        name: The column.
        found: Its type as the source yields it.
        kind: A key of `DTYPES`. Text is read as ISO 8601 for dates and times (UTC where it names no offset).
    """
    column = pl.col(name)
    dtype = DTYPES[kind]
    if found == dtype or found == pl.Null:
        return column.cast(dtype)
    if kind in ("string", "json"):
        return column.cast(pl.String, strict=False)
    if kind in ("epoch_s", "epoch_ms"):
        number = parse(name, found, "integer")
        return pl.from_epoch(number, time_unit="s" if kind == "epoch_s" else "ms").cast(dtype)
    if found == pl.String:
        return _from_text(column.str.strip_chars(), kind).alias(name)
    if kind == "integer" and found.is_float():
        # 3.0 is an integer, 3.5 is not: it would be cut off.
        return pl.when(column == column.floor()).then(column.cast(pl.Int64, strict=False))
    if kind == "boolean":
        text = column.cast(pl.String, strict=False).str.strip_suffix(".0")
        return _from_text(text, kind).alias(name)
    if kind == "timestamp" and isinstance(found, pl.Datetime):
        return (
            column.dt.replace_time_zone("UTC") if found.time_zone is None else column.dt.convert_time_zone("UTC")
        ).cast(dtype)
    if kind == "timestamp" and found == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if kind in ("date", "timestamp"):
        # A number is no date: which unit would it be in? Declare epoch_s or epoch_ms.
        return column.cast(dtype, strict=False) if found.is_temporal() else pl.lit(None, dtype=dtype).alias(name)
    return column.cast(dtype, strict=False)


def _from_text(text: pl.Expr, kind: str) -> pl.Expr:
    if kind == "boolean":
        lower = text.str.to_lowercase()
        return pl.when(lower.is_in(_TRUE)).then(True).when(lower.is_in(_FALSE)).then(False)
    if kind == "date":
        return text.str.to_date("%Y-%m-%d", strict=False)
    if kind == "timestamp":
        iso = text.str.replace(r"^(\d{4}-\d{2}-\d{2}) ", "${1}T")
        return pl.coalesce(
            *(iso.str.to_datetime(format_, time_unit="us", time_zone="UTC", strict=False) for format_ in _WITH_OFFSET),
            *(
                iso.str.to_datetime(format_, time_unit="us", strict=False).dt.replace_time_zone("UTC")
                for format_ in _WITHOUT_OFFSET
            ),
            iso.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        )
    return text.cast(DTYPES[kind], strict=False)
