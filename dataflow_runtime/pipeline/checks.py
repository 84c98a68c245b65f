"""Parts a batch into rows to load and rejected rows, each with the names of the checks that it fails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.columns import parse

__all__ = ["ROW", "Outcome", "Transform", "process_batch", "row_keys"]

Transform = Callable[[pl.DataFrame], pl.DataFrame]

ROW = "_row"
"""Position of a row in its batch. A `transform` that keeps this column lets rejected rows hold the source's values."""

REJECTED_SCHEMA = pl.Schema({"row_key": pl.String(), "checks": pl.String(), "row": pl.String()})
"""Rejected rows: their primary key (a digest of the row where that is null), the failed checks, the row as JSON."""


@dataclass(frozen=True)
class Outcome:
    """A processed batch."""

    accepted: pl.DataFrame
    rejected: pl.DataFrame


def process_batch(
    rows: pl.DataFrame,
    *,
    columns: Mapping[str, str],
    transform: Transform,
    checks: Mapping[str, pl.Expr],
    primary_key: Sequence[str],
) -> Outcome:
    """Parse the declared columns of `rows`, transform them, check them.

    A row is rejected when a declared column does not parse (``type:<column>``), when a check is false (a null result
    passes, as in SQL) or when a column of the primary key is null (``primary_key``).

    Raises:
        DataflowError: A declared column is missing, `transform` returns no frame, or a check cannot be evaluated.
    """
    if ROW in rows.columns:
        raise DataflowError(
            f"the source has a column {ROW!r}, the name that the runtime gives a row's position"
        )
    source = rows.with_row_index(ROW)
    typed, unreadable = _parse(source, columns)
    transformed = transform(typed)
    if not isinstance(transformed, pl.DataFrame):
        raise DataflowError(
            f"transform() returned {type(transformed).__name__}, expected a Polars DataFrame"
        )
    missing = [name for name in primary_key if name not in transformed.columns]
    if missing:
        raise DataflowError(
            f"processing.primary_key: the transformed rows have no column {missing[0]!r}",
            hint=f"columns: {', '.join(name for name in transformed.columns if name != ROW)}",
        )
    tests = {
        **checks,
        **(
            {"primary_key": pl.all_horizontal(pl.col(primary_key).is_not_null())}
            if primary_key
            else {}
        ),
    }
    good, bad = _apply(transformed, tests)
    rejected = pl.concat(
        [_rejects(unreadable, source, primary_key), _rejects(bad, source, primary_key)]
    )
    return Outcome(accepted=good.drop(ROW, strict=False), rejected=rejected)


def row_keys(rows: pl.DataFrame, primary_key: Sequence[str]) -> pl.Series:
    """Return each row's primary key as text (a JSON list where it has several columns), null where a part is null."""
    if not primary_key or not set(primary_key) <= set(rows.columns):
        return pl.Series("row_key", [None], dtype=pl.String).new_from_index(0, rows.height)
    # PostgreSQL has no text with a NUL in it, and a key must be storable to say which row was rejected.
    parts = rows.select(
        pl.col(primary_key).cast(pl.String).str.replace_all("\0", "\\u0000", literal=True)
    )
    if len(primary_key) == 1:
        return parts.to_series().alias("row_key")
    keys = [
        None if None in row else json.dumps(row, ensure_ascii=False) for row in parts.iter_rows()
    ]
    return pl.Series("row_key", keys, dtype=pl.String)


_FAILED = "_failed_checks"


def _parse(source: pl.DataFrame, columns: Mapping[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    missing = [name for name in columns if name not in source.columns]
    if missing:
        found = [name for name in source.columns if name != ROW]
        raise DataflowError(
            f"processing.columns: the source has no column {missing[0]!r}",
            hint=f"columns: {', '.join(found)}",
        )
    parsed = source.with_columns(parse(source[name], kind) for name, kind in columns.items())
    unparsed = (
        pl.DataFrame(
            {
                f"type:{name}": source[name].is_not_null() & parsed[name].is_null()
                for name in columns
            }
            | {ROW: source[ROW]}
        ).filter(pl.any_horizontal(pl.exclude(ROW)))
        if columns
        else source.head(0).select(ROW)
    )
    if unparsed.is_empty():
        return parsed, _no_reasons(parsed)
    reasons = unparsed.select(ROW, _names(unparsed.drop(ROW).columns))
    return (
        parsed.join(reasons, on=ROW, how="anti", maintain_order="left"),
        parsed.join(reasons, on=ROW, how="inner", maintain_order="left"),
    )


def _no_reasons(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.head(0).with_columns(pl.lit("").alias(_FAILED))


def _apply(rows: pl.DataFrame, tests: Mapping[str, pl.Expr]) -> tuple[pl.DataFrame, pl.DataFrame]:
    failures = []
    for name, check in tests.items():
        try:
            # with_columns, as a check of the whole batch has one value for all rows.
            found = rows.with_columns(check.alias(_FAILED))[_FAILED]
            if found.dtype not in (pl.Boolean, pl.Null):
                raise TypeError(f"it yields {found.dtype}, expected true or false")
            failures.append((~found.cast(pl.Boolean)).fill_null(value=False).alias(name))
        except (pl.exceptions.PolarsError, AttributeError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise DataflowError(
                f"check {name!r} cannot be evaluated: {reason}",
                hint="a check is a Polars expression over the transformed columns, true for good rows",
            ) from error
    table = pl.DataFrame(failures)
    bad = (
        table.select(pl.any_horizontal(pl.all())).to_series()
        if failures
        else pl.Series(dtype=pl.Boolean)
    )
    if not bad.any():
        return rows, _no_reasons(rows)
    return rows.filter(~bad), rows.filter(bad).with_columns(
        table.filter(bad).select(_names(table.columns)).to_series()
    )


def _names(flags: Sequence[str]) -> pl.Expr:
    """Return the names of the flags that are true, comma separated."""
    return pl.concat_str(
        [pl.when(pl.col(name)).then(pl.lit(name)) for name in flags],
        separator=",",
        ignore_nulls=True,
    ).alias(_FAILED)


def _rejects(rows: pl.DataFrame, source: pl.DataFrame, primary_key: Sequence[str]) -> pl.DataFrame:
    """Return what is kept of rejected rows: the values as the source sent them, as far as `transform` kept `ROW`."""
    keys, reasons = row_keys(rows, primary_key), rows[_FAILED]
    shown = (
        rows.select(ROW).join(source, on=ROW, how="left", maintain_order="left")
        if ROW in rows.columns
        else rows
    )
    texts = [
        json.dumps(record, ensure_ascii=False, default=str)
        for record in shown.drop(ROW, _FAILED, strict=False).to_dicts()
    ]
    known = [
        "sha256:" + hashlib.sha256(text.encode()).hexdigest() if key is None else key
        for key, text in zip(keys, texts, strict=True)
    ]
    return pl.DataFrame({"row_key": known, "checks": reasons, "row": texts}, schema=REJECTED_SCHEMA)
