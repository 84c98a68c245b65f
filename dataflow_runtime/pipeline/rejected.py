"""Reads the rows that checks refused, to show them or to send them through the checks again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.errors import UsageError, did_you_mean
from dataflow_runtime.pipeline.checks import REJECTED_SCHEMA
from dataflow_runtime.pipeline.frames import from_records
from dataflow_runtime.pipeline.load import connect, tables
from dataflow_runtime.pipeline.warehouse import is_missing, literal

__all__ = ["ANY_CHECK", "read_rejected", "selection", "show_rejected"]

ANY_CHECK = "*"
"""Stands for the rows that any check rejected."""

_COLUMNS = (*REJECTED_SCHEMA, "run_id", "rejected_at")


def selection(check: str) -> str:
    """Return the SQL condition on the rows that a check, or any, has rejected until now."""
    condition = f"rejected_at <= {literal(datetime.now(UTC))}"
    if check != ANY_CHECK:
        condition += f" and strpos(',' || checks || ',', {literal(f',{check},')}) > 0"
    return condition


def show_rejected(config: WorkflowConfig, check: str, limit: int) -> list[dict[str, Any]]:
    """Return at most `limit` rejected rows, the newest first.

    Raises:
        UsageError: No row failed this check; the hint names those that rows failed.
    """
    return [
        dict(zip(_COLUMNS, row, strict=True))
        for batch in _batches(config, selection(check), check, limit)
        for row in batch.select(_COLUMNS).iter_rows()
    ]


def read_rejected(config: WorkflowConfig, condition: str, check: str) -> Iterator[pl.DataFrame]:
    """Yield the rejected rows as the source sent them, the oldest first.

    Raises:
        UsageError: No row failed this check; the hint names those that rows failed.
    """
    for batch in _batches(config, condition, check):
        yield from_records(map(json.loads, batch["row"]))


def _batches(
    config: WorkflowConfig, condition: str, check: str, limit: int | None = None
) -> Iterator[pl.DataFrame]:
    if is_missing(config):
        return
    table = config.output.rejected_table
    with connect(config) as engine:
        if not engine.columns(table):
            return
        order = "rejected_at, row_key"
        if limit is not None:
            order = f"rejected_at desc, row_key limit {limit}"
        query = f"""
            select {", ".join(_COLUMNS)} from {engine.name(table)}
            where {condition} order by {order}
        """
        found = False
        for batch in engine.batches(query, config.processing.batch_size):
            found = True
            yield batch
        if found or check == ANY_CHECK:
            return
        known = {name for checks in engine.keys(table, "checks") for name in checks.split(",")}
    hint = did_you_mean(check, known) or f"checks with rows: {', '.join(sorted(known)) or 'none'}"
    raise UsageError(f"no row of {tables(config)[1]} failed the check {check!r}", hint=hint)
