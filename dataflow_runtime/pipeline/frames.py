"""Turns what a source yields into Polars frames without changing a value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa

from dataflow_runtime.errors import DataflowError

__all__ = ["Rows", "from_records", "to_frame"]

Rows: TypeAlias = pl.DataFrame | pl.LazyFrame | pa.Table | pa.RecordBatch | Sequence[Mapping[str, Any]]
"""What `extract` may yield: a Polars frame, an Arrow table or record batch, or a list of dictionaries."""


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
    return pl.DataFrame([_series(name, [record.get(name) for record in records]) for name in names])


def _series(name: str, values: list[Any]) -> pl.Series:
    types = {type(value) for value in values if value is not None}
    # Arrow would cut the time off a datetime beside a date, and take true for 1.
    if types & {dict, list} or (len(types) > 1 and not types <= {int, float, Decimal}):
        return pl.Series(name, [None if value is None else _text(value) for value in values], dtype=pl.String)
    try:
        array = pa.array(values, from_pandas=False)
    except (pa.ArrowException, OverflowError):
        return pl.Series(name, [None if value is None else _text(value) for value in values], dtype=pl.String)
    return pl.Series(name, array)


def _text(value: Any) -> str:
    if isinstance(value, dict | list | bool | int | float):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
