"""Incremental reading. The cursor is the warehouse's own newest value, so it can never run ahead of the data."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.columns import parse
from dataflow_runtime.pipeline.warehouse import newest_value

__all__ = ["newer_than", "since"]


def since(config: WorkflowConfig) -> Any:
    """Return the value from which rows may be new: the newest loaded one less the lookback. None: read everything."""
    cursor = config.processing.cursor
    if cursor is None or config.output.write_disposition == "replace":
        return None
    newest = newest_value(config, cursor.column)
    if newest is None:
        return None
    if isinstance(newest, datetime) and newest.tzinfo is None:
        newest = newest.replace(tzinfo=UTC)
    lookback = cursor.lookback
    # An append cannot tell a row that came late from one that is already there.
    if not lookback or config.output.write_disposition == "append":
        return newest
    if isinstance(lookback, timedelta) != isinstance(newest, date):  # a datetime is a date, too
        raise DataflowError(
            f"processing.cursor.lookback: {lookback} cannot be taken from {cursor.column} = {newest}",
            hint="a duration such as 2h for times, a number for numbers",
        )
    return newest - (Decimal(str(lookback)) if isinstance(newest, Decimal) else lookback)


def newer_than(frame: pl.DataFrame, config: WorkflowConfig, lower_bound: Any) -> pl.DataFrame:
    """Return the rows whose cursor is not below `lower_bound`, and those without a readable one, to be rejected later.

    Raises:
        DataflowError: The rows have no such column.
    """
    cursor = config.processing.cursor
    if cursor is None:
        return frame
    if cursor.column not in frame.columns:
        raise DataflowError(
            f"processing.cursor.column: the source has no column {cursor.column!r}",
            hint=f"columns: {', '.join(frame.columns)}",
        )
    value = frame[cursor.column]
    if kind := config.processing.columns.get(cursor.column):
        value = parse(value, kind)
    # Rows at the newest value are read again, as more of them may have come; an append has no key to tell them by.
    newer = value > lower_bound if config.output.write_disposition == "append" else value >= lower_bound
    return frame.filter(newer.fill_null(value=True))
