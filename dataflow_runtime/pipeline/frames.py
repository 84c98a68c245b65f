"""Turns what a source yields into Polars frames without changing a value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

import polars as pl
import pyarrow as pa

from dataflow_runtime.errors import DataflowError

__all__ = ["Rows", "from_columns", "from_records", "to_frame"]

Rows: TypeAlias = (
    pl.DataFrame | pl.LazyFrame | pa.Table | pa.RecordBatch | Sequence[Mapping[str, Any]]
)
"""What `extract` may yield: a Polars frame, an Arrow table or record batch, or a list of dictionaries."""

_DECIMAL = pa.decimal128(38, 9)


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
        return pl.DataFrame(rows)
    if isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows):
        return from_records(rows)
    raise DataflowError(
        f"extract() yielded {type(rows).__name__}",
        hint="yield batches of rows: Polars frames, Arrow tables or lists of dictionaries",
    )


def from_records(records: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return a frame of JSON-like records: a column for each key of any record, in order of first appearance.

    Nested objects and lists become JSON text, and so does every value of a column whose values are of types that have
    no common one (a number here, a word there): nothing is converted with loss, nothing is dropped.
    """
    records = list(records)
    names = dict.fromkeys(name for record in records for name in record)
    return from_columns({name: [record.get(name) for record in records] for name in names})


def from_columns(columns: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """Return a frame of columns of Python values, treated as those of `from_records`."""
    return pl.DataFrame([_series(name, values) for name, values in columns.items()])


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    types = set(map(type, values)) - {type(None)}
    # Arrow would cut the time off a datetime beside a date, and take true for 1; warehouses have no durations.
    if types & {dict, list, UUID, timedelta} or (
        len(types) > 1 and not types <= {int, float, Decimal}
    ):
        return _texts(name, values)
    try:
        array = pa.array(values, from_pandas=False)
        if pa.types.is_decimal(array.type):
            # One type for all batches, whatever the digits that stand in each; more digits keep a type of their own.
            array = array if array.type.scale > _DECIMAL.scale else array.cast(_DECIMAL)
        elif pa.types.is_timestamp(array.type) and array.type.tz is not None:
            # The offset of the first value is that of this batch only.
            array = array.cast(pa.timestamp("us", "UTC"))
    except (pa.ArrowException, OverflowError):
        return _texts(name, values)
    return pl.Series(name, array)


def _texts(name: str, values: Sequence[Any]) -> pl.Series:
    return pl.Series(
        name, [None if value is None else _text(value) for value in values], dtype=pl.String
    )


def _text(value: Any) -> str:
    if isinstance(value, dict | list | bool | int | float):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
