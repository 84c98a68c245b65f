"""Names and types of columns on their way into a warehouse: what it can hold, and how a table may change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import polars as pl
import polars.selectors as cs

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.columns import as_json
from dataflow_runtime.pipeline.warehouse import column_name

__all__ = ["common", "conform", "evolve", "loadable", "unify"]

Columns = Mapping[str, pl.DataType]

_INTEGER, _FLOAT, _TEXT = pl.Int64(), pl.Float64(), pl.String()
_WORDS = {
    _INTEGER: "integers",
    _FLOAT: "floats",
    _TEXT: "text",
    pl.Boolean(): "booleans",
    pl.Date(): "dates",
}


def loadable(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame in the few types that both warehouses have, no value changed.

    Integers are of 64 bits (unsigned ones of 64 bits decimals), floats too; times of day and timestamps have
    microseconds, timestamps are UTC; nested values become JSON text, durations ISO 8601 text, categories text. Columns
    of no type are left out: nothing is in them. Names are those of `column_name`.

    Raises:
        DataflowError: Two columns have the same name then.
    """
    frame = frame.drop(cs.by_dtype(pl.Null))
    names = {name: column_name(name) for name in frame.columns}
    # DuckDB's names differ in more than case, and one dbt project is to serve both.
    count = Counter(name.lower() for name in names.values())
    if taken := [name for name, new in names.items() if count[new.lower()] > 1]:
        raise DataflowError(
            f"columns {taken} have the same name in a warehouse", hint="rename them in transform()"
        )
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    return (
        frame.with_columns(as_json(frame[name]) for name in nested)
        .with_columns(
            cs.by_dtype(pl.UInt64).cast(pl.Decimal(20, 0)),
            (cs.integer() - cs.by_dtype(pl.UInt64)).cast(_INTEGER),
            cs.float().cast(_FLOAT),
            cs.duration().dt.to_string("iso"),
            cs.by_dtype(pl.Categorical, pl.Enum).cast(_TEXT),
            cs.datetime(time_zone=None).dt.replace_time_zone("UTC").dt.cast_time_unit("us"),
            cs.datetime(time_zone="*").dt.convert_time_zone("UTC").dt.cast_time_unit("us"),
        )
        .rename(names)
    )


def common(first: pl.DataType, second: pl.DataType) -> pl.DataType | None:
    """Return the type that holds the values of both as they are, None where there is none but text."""
    if first == second:
        return first
    if {first, second} == {_INTEGER, _FLOAT}:
        return _FLOAT  # `conform` sees to it that the integers are not too large
    if {type(first), type(second)} <= {pl.Int64, pl.Decimal}:
        places = [(dtype.precision - dtype.scale, dtype.scale) if isinstance(dtype, pl.Decimal) else (19, 0)
                  for dtype in (first, second)]  # fmt: skip
        whole, scale = (max(numbers) for numbers in zip(*places, strict=True))
        return pl.Decimal(whole + scale, scale) if whole + scale <= 38 else None
    return None


def unify(schemas: Iterable[Columns]) -> dict[str, pl.DataType]:
    """Return one type for each column of a run's batches; text where they have no other one in common."""
    columns: dict[str, pl.DataType] = {}
    for schema in schemas:
        for name, dtype in schema.items():
            columns[name] = common(columns.get(name, dtype), dtype) or _TEXT
    return columns


def evolve(
    table: str, existing: Columns, found: Columns, *, frozen: bool
) -> dict[str, pl.DataType]:
    """Return the columns of `existing` that have to be wider for rows of the types `found`, with their new types.

    New columns are added by the load; columns that the rows lack stay null in them.

    Raises:
        DataflowError: A column cannot hold the rows' values, or the table is frozen and would have to change.
    """
    wider: dict[str, pl.DataType] = {}
    for name, dtype in found.items():
        held = existing.get(name)
        if held in (dtype, _TEXT) or (held is None and not frozen):
            continue
        if held is None:
            raise DataflowError(
                f"column {name!r} is new, and table {table} is frozen (output.schema_contract)",
                hint="drop the column in transform(), or set output.schema_contract: evolve; nothing was loaded",
            )
        both = common(held, dtype)
        if both is None:
            raise DataflowError(
                f"column {name!r} of {table} holds {_word(held)}, the rows have {_word(dtype)}",
                hint=f"declare its type in processing.columns, or cast it in transform(); nothing was loaded. To "
                f"change the table instead: alter table {table} alter column … type …",
            )
        if both != held and frozen:
            raise DataflowError(
                f"column {name!r} of {table} holds {_word(held)}, the rows have {_word(dtype)}, and the table is "
                "frozen (output.schema_contract)",
                hint="cast the column in transform(), or set output.schema_contract: evolve; nothing was loaded",
            )
        if both != held:
            wider[name] = both
    return wider


def conform(frame: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    """Return the frame with the given columns in their types; one that it lacks is null.

    Raises:
        DataflowError: A value would change: an integer too large for a float, bytes that are no text.
    """
    changed = {
        name: dtype for name, dtype in frame.schema.items() if columns.get(name, dtype) != dtype
    }
    for name, dtype in changed.items():
        target, values = columns[name], frame[name]
        if dtype == _INTEGER and target == _FLOAT and (values.abs() > 2**53).any():
            raise DataflowError(
                f"column {name!r} has integers above 2^53 beside fractions, which no float holds",
                hint=f"declare it in processing.columns: {name}: decimal",
            )
        try:
            frame = frame.with_columns(values.cast(target))
        except pl.exceptions.PolarsError:
            raise DataflowError(
                f"column {name!r} has {_word(dtype)}, expected {_word(target)}",
                hint="declare its type in processing.columns, or cast it in transform()",
            ) from None
    missing = (
        pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in columns.items()
        if name not in frame.columns
    )
    return frame.with_columns(missing).select(list(columns))


def _word(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Decimal):
        return f"decimals ({dtype.precision}, {dtype.scale})"
    return _WORDS.get(dtype, "timestamps" if isinstance(dtype, pl.Datetime) else str(dtype).lower())
