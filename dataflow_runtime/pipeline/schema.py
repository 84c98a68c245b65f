"""Names and types of columns: what a warehouse can hold, and how its tables may change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl
import polars.selectors as cs

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.casting import as_json
from dataflow_runtime.pipeline.warehouse import column_name

__all__ = [
    "UNKNOWN",
    "Columns",
    "common",
    "conform",
    "evolve",
    "loadable",
    "one_schema",
    "refuse_large_integers",
    "scan",
    "unify",
]

Columns = Mapping[str, pl.DataType]

UNKNOWN = pl.Unknown()
"""The type of a column that the runtime would not have made; the warehouse converts the rows'."""

_INTEGER, _FLOAT, _TEXT = pl.Int64(), pl.Float64(), pl.String()
_LARGEST_INTEGER_IN_A_FLOAT = 2**53
_WORDS = {
    _INTEGER: "integers",
    _FLOAT: "floats",
    _TEXT: "text",
    pl.Boolean(): "booleans",
    pl.Date(): "dates",
}
_NO_SUCH_TYPE = (pl.Int128, pl.UInt128, pl.Object)


def loadable(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return the rows in the few types that both warehouses have, no value changed.

    Integers have 64 bits (unsigned ones of 64 bits become decimals), floats too. Times and
    timestamps have microseconds, timestamps are UTC. Nested values become JSON text, durations
    ISO 8601 text, categories text. Columns without a type are left out: nothing is in them. Names
    are those of `column_name`.

    Raises:
        DataflowError: Two columns would have the same name, or a column is of a type that cannot be
            stored.
    """
    schema = rows.collect_schema()
    kept = [name for name, dtype in schema.items() if dtype != pl.Null]
    unstorable = [name for name in kept if schema[name] in _NO_SUCH_TYPE]
    if unstorable:
        name = unstorable[0]
        raise DataflowError(
            f"column {name!r} is of type {schema[name]}, which cannot be staged",
            hint="cast it in transform(), for example to text",
        )
    names = {name: column_name(name) for name in kept}
    # DuckDB's names differ in more than case, and one dbt project serves both warehouses.
    count = Counter(name.lower() for name in names.values())
    taken = [name for name, new in names.items() if count[new.lower()] > 1]
    if taken:
        raise DataflowError(
            f"columns {taken} have the same name in a warehouse", hint="rename them in transform()"
        )
    nested = [name for name in kept if schema[name].is_nested()]
    return (
        rows.select(kept)
        .with_columns(as_json(pl.col(name)).alias(name) for name in nested)
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
    """Return the type that holds the values of both as they are, None where only text does."""
    if first == second:
        return first
    if first == pl.Null:
        return second
    if second == pl.Null:
        return first
    if {first, second} == {_INTEGER, _FLOAT}:
        return _FLOAT  # `conform` makes sure that the integers are not too large
    if {type(first), type(second)} <= {pl.Int64, pl.Decimal}:
        digits = [_digits(first), _digits(second)]
        whole = max(whole for whole, _ in digits)
        scale = max(scale for _, scale in digits)
        return pl.Decimal(whole + scale, scale) if whole + scale <= 38 else None
    return None


def _digits(dtype: pl.DataType) -> tuple[int, int]:
    """Return the digits before and after the point."""
    if isinstance(dtype, pl.Decimal):
        return dtype.precision - dtype.scale, dtype.scale
    return 19, 0


def unify(schemas: Iterable[Columns]) -> dict[str, pl.DataType]:
    """Return one type for each column of several frames, text where only text holds all."""
    columns: dict[str, pl.DataType] = {}
    for schema in schemas:
        for name, dtype in schema.items():
            columns[name] = common(columns.get(name, dtype), dtype) or _TEXT
    return columns


def scan(files: Sequence[str], columns: Columns | None = None) -> pl.LazyFrame:
    """Return the rows of Parquet files as one frame, in `columns` or the types that hold them all.

    Raises:
        DataflowError: See `conform`.
    """
    schemas = [pl.read_parquet_schema(file) for file in files]
    target = columns or unify(schemas)
    return pl.concat([conform(pl.scan_parquet(file), target) for file in files])


def one_schema(folder: Path) -> None:
    """Rewrite a folder's Parquet files as one where their columns differ.

    Raises:
        DataflowError: See `conform`.
    """
    files = sorted(folder.glob("*.parquet"))
    schemas = [pl.read_parquet_schema(file) for file in files]
    if all(schema == schemas[0] for schema in schemas):
        return
    scan([str(file) for file in files]).sink_parquet(folder / "unified", compression="lz4")
    for file in files:
        file.unlink()
    Path(folder, "unified").rename(folder / "part-000000.parquet")


def conform(rows: pl.LazyFrame, columns: Columns) -> pl.LazyFrame:
    """Return the rows with the given columns in their types; a column that they lack is null.

    Raises:
        DataflowError: A value would change: an integer too large for a float, or bytes as text.
    """
    schema = rows.collect_schema()
    if list(schema.items()) == list(columns.items()):
        return rows
    changed = {name for name, dtype in columns.items() if schema.get(name, dtype) != dtype}
    large = [name for name in changed if (schema[name], columns[name]) == (_INTEGER, _FLOAT)]
    for name in large:
        refuse_large_integers(name, rows.select(pl.col(name).abs().max()).collect().item())
    for name in changed:
        try:
            rows.select(pl.col(name).cast(columns[name])).collect_schema()
        except pl.exceptions.PolarsError:
            raise DataflowError(
                f"column {name!r} has {_word(schema[name])}, expected {_word(columns[name])}",
                hint="declare its type in processing.columns, or cast it in transform()",
            ) from None
    return rows.select(
        pl.col(name).cast(dtype) if name in schema else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in columns.items()
    )


def refuse_large_integers(name: str, largest: int | None) -> None:
    """Raise for a column whose integers would lose digits as floats.

    Raises:
        DataflowError: `largest`, without its sign, is more than a float can hold.
    """
    if largest is not None and largest > _LARGEST_INTEGER_IN_A_FLOAT:
        raise DataflowError(
            f"column {name!r} has integers above 2^53 beside fractions, which no float holds",
            hint=f"declare it in processing.columns: {name}: decimal",
        )


def evolve(
    table: str, existing: Columns, found: Columns, *, frozen: bool
) -> dict[str, pl.DataType]:
    """Return the columns of `existing` that have to be wider for rows of the types `found`.

    New columns are added by the load; columns that the rows lack stay null in them.

    Raises:
        DataflowError: A column cannot hold the rows' values, or the table is frozen and would have
            to change.
    """
    wider: dict[str, pl.DataType] = {}
    for name, dtype in found.items():
        held = existing.get(name)
        if held in (dtype, _TEXT, UNKNOWN) or (held is None and not frozen):
            continue
        if held is None:
            raise DataflowError(
                f"column {name!r} is new, and table {table} is frozen (output.schema_contract)",
                hint="drop the column in transform(), or set output.schema_contract: evolve; "
                "nothing was loaded",
            )
        both = common(held, dtype)
        difference = f"column {name!r} of {table} holds {_word(held)}, the rows have {_word(dtype)}"
        if both is None:
            raise DataflowError(
                difference,
                hint="declare its type in processing.columns, or cast it in transform(); nothing "
                f"was loaded. To change the table instead: alter table {table} alter column …",
            )
        if both == held:
            continue
        if frozen:
            raise DataflowError(
                f"{difference}, and the table is frozen (output.schema_contract)",
                hint="cast the column in transform(), or set output.schema_contract: evolve; "
                "nothing was loaded",
            )
        wider[name] = both
    return wider


def _word(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Decimal):
        return f"decimals ({dtype.precision}, {dtype.scale})"
    if isinstance(dtype, pl.Datetime):
        return "timestamps"
    return _WORDS.get(dtype, str(dtype).lower())
