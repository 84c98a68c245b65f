"""Splits rows into those to load and rejected ones, with the names of the checks that they fail.

Everything here is lazy: one query reads the source once.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import polars as pl

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.casting import cast

__all__ = [
    "REJECTED_SCHEMA",
    "SOURCE",
    "OnRejected",
    "Transform",
    "check_rows",
    "each_batch",
    "is_lazy",
    "row_keys",
]

Transform: TypeAlias = Callable[[Any], Any]
"""``transform(rows)``: a Polars LazyFrame to a LazyFrame, or (as up to release 0.3) DataFrames."""

OnRejected: TypeAlias = Callable[[pl.DataFrame], None]
"""Takes rejected rows, in frames of `REJECTED_SCHEMA`."""

SOURCE = "_source"
"""The row as the source sent it; rejected rows show it where `transform` keeps this column."""

REJECTED_SCHEMA = pl.Schema({"row_key": pl.String(), "checks": pl.String(), "row": pl.String()})
"""Rejected rows: the primary key (a digest of the row where it has none), the failed checks, the
row as JSON."""

_FAILED = "_failed"


def is_lazy(transform: Transform) -> bool:
    """Return whether a `transform` is annotated to take a LazyFrame; any other takes DataFrames."""
    try:
        parameters = inspect.signature(transform, eval_str=True).parameters.values()
    except (NameError, ValueError, TypeError):
        return False
    return any(parameter.annotation is pl.LazyFrame for parameter in parameters)


def check_rows(
    rows: pl.LazyFrame,
    *,
    columns: Mapping[str, str],
    transform: Transform,
    checks: Mapping[str, pl.Expr],
    primary_key: Sequence[str],
    on_rejected: OnRejected,
    need_source: bool = False,
) -> pl.LazyFrame:
    """Parse the declared columns of `rows`, transform them, check them; return the accepted rows.

    A row is rejected when a declared column does not parse (``type:<column>``), when a check is
    false (a null result passes, as in SQL) or when a column of the primary key is null
    (``primary_key``). It is handed to `on_rejected` while the returned query runs: one sink keeps
    memory bounded, where Polars buffers rows for several.

    Raises:
        DataflowError: A declared column is missing, `transform` does not return a frame, it drops
            the column `SOURCE` although it is needed, or a check cannot be evaluated.
    """
    found = rows.collect_schema()
    _require_columns(found, columns)
    typed = rows.with_columns(pl.struct(pl.all()).alias(SOURCE)).with_columns(
        cast(pl.col(name), found[name], kind) for name, kind in columns.items()
    )
    readable = {f"type:{name}": _is_readable(name) for name in columns}
    read = _accepted(typed, readable, primary_key, on_rejected)
    transformed = _transformed(read, transform)
    if need_source and SOURCE not in transformed.collect_schema():
        raise DataflowError(
            f"transform() drops the column {SOURCE!r}, so rejected rows are not kept as the source "
            "sent them and cannot be checked again",
            hint=f"keep it (with_columns keeps all; select needs {SOURCE!r}), and read the source "
            "again for the rows that are rejected now",
        )
    tests = _tests(transformed, checks, primary_key)
    return _accepted(transformed, tests, primary_key, on_rejected).drop(SOURCE, strict=False)


def row_keys(primary_key: Sequence[str]) -> pl.Expr:
    """Return each row's primary key as text: a JSON list where it has several columns.

    Null where a part is null. PostgreSQL has no text with a NUL in it, and a key must be storable
    to say which row was rejected.
    """
    parts = [
        pl.col(name).cast(pl.String).str.replace_all("\0", "\\u0000", literal=True)
        for name in primary_key
    ]
    if len(parts) == 1:
        return parts[0].alias("row_key")
    return (
        pl.when(pl.all_horizontal(part.is_not_null() for part in parts))
        .then(pl.struct(parts))
        .map_elements(
            lambda row: json.dumps(list(row.values()), ensure_ascii=False), return_dtype=pl.String
        )
        .alias("row_key")
    )


def _require_columns(found: pl.Schema, columns: Mapping[str, str]) -> None:
    if SOURCE in found:
        raise DataflowError(
            f"the source has a column {SOURCE!r}, a name that the runtime uses", hint="rename it"
        )
    missing = [name for name in columns if name not in found]
    if missing:
        raise DataflowError(
            f"processing.columns: the source has no column {missing[0]!r}",
            hint=f"columns: {', '.join(found)}",
        )


def _is_readable(name: str) -> pl.Expr:
    return pl.col(SOURCE).struct.field(name).is_null() | pl.col(name).is_not_null()


def _transformed(rows: pl.LazyFrame, transform: Transform) -> pl.LazyFrame:
    result = transform(rows if is_lazy(transform) else rows.collect())
    if not isinstance(result, pl.DataFrame | pl.LazyFrame):
        raise DataflowError(
            f"transform() returned {type(result).__name__}, expected a Polars frame"
        )
    return result.lazy()


def _tests(
    rows: pl.LazyFrame, checks: Mapping[str, pl.Expr], primary_key: Sequence[str]
) -> dict[str, pl.Expr]:
    schema = rows.collect_schema()
    missing = [name for name in primary_key if name not in schema]
    if missing:
        raise DataflowError(
            f"processing.primary_key: the transformed rows have no column {missing[0]!r}",
            hint=f"columns: {', '.join(name for name in schema if name != SOURCE)}",
        )
    # A check of the wrong type fails on no rows already, before anything is staged.
    no_rows = pl.DataFrame(schema=schema)
    for name, check in checks.items():
        try:
            if not isinstance(check, pl.Expr):
                raise TypeError(f"it is a {type(check).__name__}, expected a Polars expression")
            found = no_rows.select(check).to_series().dtype
            if found not in (pl.Boolean, pl.Null):
                raise TypeError(f"it yields {found}, expected true or false")
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise DataflowError(
                f"check {name!r} cannot be evaluated: {str(error).splitlines()[0]}",
                hint="a check is a Polars expression over the transformed columns, true for good "
                "rows",
            ) from error
    tests = {name: check.cast(pl.Boolean) for name, check in checks.items()}
    if primary_key:
        tests["primary_key"] = pl.all_horizontal(pl.col(primary_key).is_not_null())
    return tests


def _accepted(
    rows: pl.LazyFrame,
    tests: Mapping[str, pl.Expr],
    primary_key: Sequence[str],
    on_rejected: OnRejected,
) -> pl.LazyFrame:
    """Return the rows that pass all tests; hand the others to `on_rejected`."""
    schema = rows.collect_schema()
    # Evaluated over all rows, before the split: a check may compare a row with others.
    failed = {f"{_FAILED}:{name}": ~test.fill_null(value=True) for name, test in tests.items()}
    flagged = rows.with_columns(**failed).with_columns(
        pl.any_horizontal(pl.lit(value=False), *failed).alias(_FAILED)
    )
    names = [pl.when(column).then(pl.lit(name)) for column, name in zip(failed, tests, strict=True)]
    has_key = bool(primary_key) and set(primary_key) <= set(schema)
    kept = (
        row_keys(primary_key) if has_key else pl.lit(None, dtype=pl.String).alias("row_key"),
        pl.concat_str(names or [pl.lit("")], separator=",", ignore_nulls=True).alias("checks"),
        (pl.col(SOURCE) if SOURCE in schema else pl.struct(list(schema))).alias("row"),
    )

    def split(batch: pl.DataFrame) -> pl.DataFrame:
        rejected = batch.filter(_FAILED)
        if not rejected.is_empty():
            on_rejected(_as_text(rejected.select(kept)))
        return batch.filter(~pl.col(_FAILED)).drop(_FAILED, *failed)

    return each_batch(flagged, split, schema)


def each_batch(
    rows: pl.LazyFrame, function: Callable[[pl.DataFrame], pl.DataFrame], schema: pl.Schema
) -> pl.LazyFrame:
    """Return the rows that a function makes of each batch, which Polars may call from any thread.

    Nothing is pushed below it: it sees every row and column.
    """
    return rows.map_batches(
        function,
        schema=schema,
        streamable=True,
        predicate_pushdown=False,
        projection_pushdown=False,
        slice_pushdown=False,
    )


def _as_text(rejected: pl.DataFrame) -> pl.DataFrame:
    texts = [json.dumps(row, ensure_ascii=False, default=str) for row in rejected["row"].to_list()]
    digests = ["sha256:" + hashlib.sha256(text.encode()).hexdigest() for text in texts]
    return rejected.with_columns(
        pl.Series("row", texts, dtype=pl.String),
        pl.col("row_key").fill_null(pl.Series(digests, dtype=pl.String)),
    )
