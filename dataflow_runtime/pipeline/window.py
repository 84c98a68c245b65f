"""Which rows of the source a run reads: what is new, a partition, or a range to fill in again.

The cursor is the warehouse's own newest value, so it can never run ahead of the data.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from dataflow_runtime.config import Window, WorkflowConfig
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.columns import parse
from dataflow_runtime.pipeline.warehouse import column_name, newest_value, quoted

__all__ = ["Window", "condition", "inside", "resolve"]


def resolve(config: WorkflowConfig, window: Window | None = None) -> Window | None:
    """Return what a run reads: `window` if one is given, else the rows that are new. None: everything.

    Raises:
        DataflowError: The workflow has no cursor for the window, or replaces its whole table with each run.
    """
    cursor = config.processing.cursor
    if window is None:
        return (
            None
            if cursor is None or config.output.write_disposition == "replace"
            else _new_rows(config)
        )
    if cursor is None:
        raise DataflowError(
            "a range or a partition needs to know which column says when a row belongs",
            hint="set processing.cursor: {column: …} in config.yaml",
        )
    if config.output.write_disposition == "replace":
        raise DataflowError(
            "output.write_disposition is replace: a range would take the place of the whole table",
            hint="use merge or append, which load a range in place",
        )
    return window


def _new_rows(config: WorkflowConfig) -> Window | None:
    cursor = config.processing.cursor
    assert cursor is not None
    newest = newest_value(config, cursor.column)
    if newest is None:
        return None
    if isinstance(newest, datetime) and newest.tzinfo is None:
        newest = newest.replace(tzinfo=UTC)
    if config.output.write_disposition == "append":
        # It cannot tell a row that came late, or one of the same moment, from one that is already there.
        return Window(start=newest, after=True)
    lookback = cursor.lookback
    if not lookback:
        return Window(start=newest)
    if isinstance(lookback, timedelta) != isinstance(newest, date):  # a datetime is a date, too
        raise DataflowError(
            f"processing.cursor.lookback: {lookback} cannot be taken from {cursor.column} = {newest}",
            hint="a duration such as 2h for times, a number for numbers",
        )
    return Window(
        start=newest - (Decimal(str(lookback)) if isinstance(newest, Decimal) else lookback)
    )


def inside(frame: pl.DataFrame, config: WorkflowConfig, window: Window) -> pl.DataFrame:
    """Return the rows whose cursor is in the window, and those without a readable one, to be rejected later.

    Raises:
        DataflowError: The rows have no such column, or one that cannot be compared with the window.
    """
    cursor = config.processing.cursor
    assert cursor is not None
    if cursor.column not in frame.columns:
        raise DataflowError(
            f"processing.cursor.column: the source has no column {cursor.column!r}",
            hint=f"columns: {', '.join(frame.columns)}",
        )
    value = frame[cursor.column]
    if kind := config.processing.columns.get(cursor.column):
        value = parse(value, kind)
    if isinstance(window.start or window.end, datetime) and value.dtype != pl.Null:
        if not value.dtype.is_temporal():
            raise DataflowError(
                f"processing.cursor: {cursor.column} holds {value.dtype}, and the range to read is one of time",
                hint=f"declare processing.columns: {{{cursor.column}: timestamp}}, or date, epoch_s, epoch_ms",
            )
        value = parse(value, "timestamp")
    keep = pl.repeat(value=True, n=frame.height, dtype=pl.Boolean, eager=True)
    if window.start is not None:
        keep &= value > window.start if window.after else value >= window.start
    if window.end is not None:
        keep &= value < window.end
    return frame.filter(keep.fill_null(value=True))


def condition(config: WorkflowConfig, window: Window | None, newest: Any) -> str:
    """Return the SQL condition on the table's rows that an append of this window takes the place of.

    There are some when its load is tried again after it had been done, or when a range is filled in again.

    Args:
        config: The workflow's config, with a cursor.
        window: What the run read.
        newest: The newest cursor of the rows to load: what other runs loaded since is newer, and stays.
    """
    cursor = config.processing.cursor
    assert cursor is not None
    column = quoted(column_name(cursor.column))
    bounds = []
    if window is not None and window.start is not None:
        bounds.append(f"{column} {'>' if window.after else '>='} {_literal(window.start)}")
    if window is not None and window.end is not None:
        bounds.append(f"{column} < {_literal(window.end)}")
    elif newest is None:
        return "1 = 0"
    else:
        bounds.append(f"{column} <= {_literal(newest)}")
    return " and ".join(bounds)


def _literal(value: Any) -> str:
    if isinstance(value, int | float | Decimal) and math.isfinite(value):
        return str(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC)
    return "'" + str(value).replace("'", "''") + "'"
