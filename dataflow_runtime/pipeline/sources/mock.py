"""The ``mock`` source: rows generated from a seed, with the types of ``processing.columns``."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.base import decimal_digits
from dataflow_runtime.errors import DataflowError

__all__ = ["read"]

_START = datetime(2024, 1, 1, tzinfo=UTC)
_LENGTH = timedelta(days=7)


def read(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield ``source.mock.rows`` rows in batches; the same seed gives the same rows.

    Every value is text, as from a CSV file. A column of the primary key counts up. The share
    ``bad_ratio`` of the rows has a value that does not parse, in a column that is not text.

    Raises:
        DataflowError: ``processing.columns`` declares no column.
    """
    source, columns = config.source.mock, config.processing.columns
    if not columns:
        raise DataflowError(
            "the mock source generates the columns of processing.columns, which declares none"
        )
    rng = random.Random(source.seed)  # noqa: S311 - rows, not secrets
    size = config.processing.batch_size
    for start in range(0, source.rows, size):
        numbers = range(start, min(start + size, source.rows))
        rows = [_row(number, config, rng) for number in numbers]
        yield pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String))


def _row(number: int, config: WorkflowConfig, rng: random.Random) -> dict[str, str]:
    source, columns = config.source.mock, config.processing.columns
    # Times rise with the row's number, as in a log.
    time = _START + _LENGTH * (number / source.rows)
    row = {}
    for name, kind in columns.items():
        counts = name in config.processing.primary_key
        row[name] = str(number) if counts else _value(kind, name, rng, number, time)
    # Spread evenly, so that the share is met exactly and not by luck.
    if int((number + 1) * source.bad_ratio) > int(number * source.bad_ratio):
        breakable = [name for name, kind in columns.items() if kind not in ("string", "json")]
        if not breakable:
            raise DataflowError("source.mock.bad_ratio: every column is text, so no value is bad")
        row[rng.choice(breakable)] = "not a value"
    return row


def _value(kind: str, name: str, rng: random.Random, number: int, time: datetime) -> str:
    precision, scale = decimal_digits(kind) or (0, 0)
    # Below a hundred and with two places, or what the type has less of.
    places, whole = min(scale, 2), min(precision - scale, 2)
    values: dict[str, Any] = {
        "string": f"{name}_{rng.randrange(5)}",
        "integer": rng.randrange(1000),
        "float": round(rng.uniform(0, 100), 3),
        "decimal": Decimal(rng.randrange(10 ** (whole + places))).scaleb(-places),
        "boolean": str(rng.random() < 0.5).lower(),
        "date": time.date(),
        "timestamp": time.isoformat(),
        "epoch_s": int(time.timestamp()),
        "epoch_ms": int(time.timestamp() * 1000),
        "json": f'{{"n": {number}}}',
    }
    return str(values["decimal" if precision else kind])
