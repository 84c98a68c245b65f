"""Parts a batch into rows to load and rejected rows, each with the names of the checks that it fails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.columns import parse

__all__ = ["ROW", "Outcome", "Transform", "process_batch"]

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
        raise DataflowError(f"the source has a column {ROW!r}, the name that the runtime gives a row's position")
    source = rows.with_row_index(ROW)
    typed, failed = _parse(source, columns)
    transformed = transform(typed)
    if not isinstance(transformed, pl.DataFrame):
        raise DataflowError(f"transform() returned {type(transformed).__name__}, expected a Polars DataFrame")
    missing = [name for name in primary_key if name not in transformed.columns]
    if missing:
        raise DataflowError(
            f"processing.primary_key: the transformed rows have no column {missing[0]!r}",
            hint=f"columns: {', '.join(name for name in transformed.columns if name != ROW)}",
        )
    tests = {**checks, **({"primary_key": pl.all_horizontal(pl.col(primary_key).is_not_null())} if primary_key else {})}
    good, broken = _apply(transformed, tests)
    if ROW in broken.columns:
        # The values as the source sent them say more than the values as they were understood.
        broken = broken.select(ROW, _FAILED).join(source, on=ROW, how="left", maintain_order="left")
    rejected = pl.concat([_rejects(failed, primary_key), _rejects(broken, primary_key)])
    return Outcome(accepted=good.drop(ROW, strict=False), rejected=rejected)


_FAILED = "_failed_checks"


def _parse(source: pl.DataFrame, columns: Mapping[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    missing = [name for name in columns if name not in source.columns]
    if missing:
        found = [name for name in source.columns if name != ROW]
        raise DataflowError(
            f"processing.columns: the source has no column {missing[0]!r}", hint=f"columns: {', '.join(found)}"
        )
    parsed = source.with_columns(parse(source[name], kind) for name, kind in columns.items())
    unparsed = (
        pl.DataFrame(
            {f"type:{name}": source[name].is_not_null() & parsed[name].is_null() for name in columns}
            | {ROW: source[ROW]}
        ).filter(pl.any_horizontal(pl.exclude(ROW)))
        if columns
        else source.head(0).select(ROW)
    )
    if unparsed.is_empty():
        return parsed, source.head(0).with_columns(pl.lit("").alias(_FAILED))
    reasons = unparsed.select(ROW, _names(unparsed.drop(ROW).columns))
    return (
        parsed.join(reasons, on=ROW, how="anti", maintain_order="left"),
        reasons.join(source, on=ROW, how="left", maintain_order="left"),
    )


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
    if not failures:
        return rows, rows.head(0).with_columns(pl.lit("").alias(_FAILED))
    table = pl.DataFrame(failures)
    bad = table.select(pl.any_horizontal(pl.all())).to_series()
    return rows.filter(~bad), rows.with_columns(table.select(_names(table.columns)).to_series()).filter(bad)


def _names(flags: Sequence[str]) -> pl.Expr:
    """Return the names of the flags that are true, comma separated."""
    return pl.concat_str(
        [pl.when(pl.col(name)).then(pl.lit(name)) for name in flags], separator=",", ignore_nulls=True
    ).alias(_FAILED)


def _rejects(rows: pl.DataFrame, primary_key: Sequence[str]) -> pl.DataFrame:
    records = [{name: value for name, value in row.items() if name != ROW} for row in rows.to_dicts()]
    reasons = [record.pop(_FAILED) for record in records]
    texts = [json.dumps(record, ensure_ascii=False, default=str) for record in records]
    keys = [_row_key(record, text, primary_key) for record, text in zip(records, texts, strict=True)]
    return pl.DataFrame({"row_key": keys, "checks": reasons, "row": texts}, schema=REJECTED_SCHEMA)


def _row_key(record: Mapping[str, object], text: str, primary_key: Sequence[str]) -> str:
    values = [record.get(name) for name in primary_key]
    if not values or any(value is None for value in values):
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return str(values[0]) if len(values) == 1 else json.dumps([str(value) for value in values], ensure_ascii=False)
