"""Turns what a source yields into Polars frames without changing a value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

import polars as pl
import pyarrow as pa

from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError

__all__ = ["Rows", "decimals", "from_columns", "from_records", "to_frame", "utc"]

Rows: TypeAlias = (
    pl.DataFrame | pl.LazyFrame | pa.Table | pa.RecordBatch | Sequence[Mapping[str, Any]]
)
"""What `extract` may yield: a Polars frame, an Arrow table or record batch, or dictionaries."""


def to_frame(rows: Rows) -> pl.DataFrame:
    """Return the rows as a frame.

    Raises:
        DataflowError: The rows are of a type that cannot be staged.
    """
    if isinstance(rows, pl.DataFrame):
        return rows
    if isinstance(rows, pl.LazyFrame):
        return rows.collect()
    if isinstance(rows, pa.Table | pa.RecordBatch):
        return _from_arrow(rows)
    if isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows):
        return from_records(rows)
    raise DataflowError(
        f"extract() yielded {type(rows).__name__}",
        hint="yield batches of rows: Polars frames, Arrow tables or lists of dictionaries",
    )


def from_records(records: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return a frame of JSON-like records with a column for each key of any record.

    Nested objects and lists become JSON text. So does a column whose values have no common type
    (a number here, a word there): nothing is converted with loss, nothing is dropped.
    """
    records = list(records)
    names = dict.fromkeys(name for record in records for name in record)
    return from_columns({name: [record.get(name) for record in records] for name in names})


def from_columns(columns: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """Return a frame of columns of Python values, treated as those of `from_records`.

    Raises:
        DataflowError: A text has half of a character, as an emoji that JSON cuts off.
    """
    series = []
    for name, values in columns.items():
        try:
            series.append(_series(name, values))
        except UnicodeEncodeError as error:
            found = f"a text has {error.object[error.start]!a}, half of a character"
            raise DataflowError(
                mask(f"column {name!r}: {found}"), hint="it cannot be stored: fix it at the source"
            ) from None
    return pl.DataFrame(series)


def decimals(numbers: Any) -> Any:
    """Return an Arrow array of numbers, or of their texts, as decimals of 38 digits.

    Nine digits follow the point, more only where a value needs them, so that batches agree.
    Numbers that no such type holds exactly (1e20 beside 1e-20, NaN) become text.
    """
    for scale in (9, 18, 27):
        with suppress(pa.ArrowInvalid):
            return numbers.cast(pa.decimal128(38, scale))
    return numbers.cast(pa.string())


def utc(moment: date) -> datetime:
    """Return a moment in UTC: a day is its midnight, and a time without an offset is UTC."""
    if not isinstance(moment, datetime):
        return datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _from_arrow(rows: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    for index, field in enumerate(rows.schema):
        if pa.types.is_decimal256(field.type):  # a type that Polars panics at
            rows = rows.set_column(index, field.name, decimals(rows.column(index)))
    try:
        return pl.DataFrame(rows)
    # A panic is not an Exception.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).partition("\n")[0]
        raise DataflowError(
            mask(f"extract() yielded Arrow data that Polars cannot read: {reason}"),
            hint="cast the columns of unusual types, for example to text",
        ) from None


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    types = set(map(type, values)) - {type(None)}
    # Arrow would cut the time off a datetime beside a date, and take true for 1.
    mixed = len(types) > 1 and not types <= {int, float, Decimal}
    if not mixed and not types & {dict, list, UUID, timedelta}:
        # What Arrow has no type for, such as an infinite decimal, has one of several errors.
        with suppress(pa.ArrowException, OverflowError, TypeError):
            array = pa.array(values, from_pandas=False)
            if pa.types.is_decimal(array.type):
                array = decimals(array)
            elif pa.types.is_timestamp(array.type) and array.type.tz is not None:
                # The offset of the first value is that of this batch only.
                array = array.cast(pa.timestamp("us", "UTC"))
            return pl.Series(name, array)
    texts = [None if value is None else _text(value) for value in values]
    return pl.Series(name, texts, dtype=pl.String)


def _text(value: Any) -> str:
    if isinstance(value, dict | list | bool | int | float):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
