"""Which rows of the source a run reads: what is new, a partition, or a range to fill in again.

The cursor is the warehouse's own newest value, so it can never run ahead of the data.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl

from dataflow_runtime.config import Window, WorkflowConfig
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.casting import cast, dtype_of
from dataflow_runtime.pipeline.load import newest_value

__all__ = ["Window", "inside", "resolve"]


def resolve(config: WorkflowConfig, window: Window | None = None) -> Window | None:
    """Return what a run reads: the given window, or else the rows that are new; None for all rows.

    Raises:
        DataflowError: The workflow has no cursor, or each run replaces the whole table.
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
        # An append cannot tell a late row, or one of the same moment, from one that is loaded.
        return Window(start=newest, after=True)
    lookback = cursor.lookback
    if not lookback:
        return Window(start=newest)
    if isinstance(lookback, timedelta) != isinstance(newest, date):  # a datetime is a date, too
        raise DataflowError(
            f"processing.cursor.lookback: {lookback} cannot be subtracted from "
            f"{cursor.column} = {newest}",
            hint="a duration such as 2h for times, a number for numbers",
        )
    return Window(
        start=newest - (Decimal(str(lookback)) if isinstance(newest, Decimal) else lookback)
    )


def inside(rows: pl.LazyFrame, config: WorkflowConfig, window: Window) -> pl.LazyFrame:
    """Return the rows whose cursor is in the window, and those without a readable one.

    Transform rejects the latter.

    Raises:
        DataflowError: The rows have no such column, or one that cannot be compared with the window.
    """
    cursor = config.processing.cursor
    assert cursor is not None
    schema = rows.collect_schema()
    if cursor.column not in schema:
        raise DataflowError(
            f"processing.cursor.column: the source has no column {cursor.column!r}",
            hint=f"columns: {', '.join(schema)}",
        )
    value, dtype = pl.col(cursor.column), schema[cursor.column]
    kind = config.processing.columns.get(cursor.column)
    if kind is not None:
        value, dtype = cast(value, dtype, kind), dtype_of(kind)
    if isinstance(window.start or window.end, datetime) and dtype != pl.Null:
        if not dtype.is_temporal():
            raise DataflowError(
                f"processing.cursor: {cursor.column} holds {dtype}, and the range is one of time",
                hint=f"declare processing.columns: {{{cursor.column}: timestamp}}, or date, "
                "epoch_s, epoch_ms",
            )
        value = cast(value, dtype, "timestamp")
    keep = pl.lit(value=True)
    if window.start is not None:
        keep &= value > window.start if window.after else value >= window.start
    if window.end is not None:
        keep &= value < window.end
    return rows.filter(keep.fill_null(value=True))
