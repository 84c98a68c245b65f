"""The ``mock`` source: rows generated from a seed, after the types of ``processing.columns``."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.base import decimal_digits
from dataflow_runtime.errors import DataflowError

__all__ = ["read"]

_START = datetime(2024, 1, 1, tzinfo=UTC)
_DAYS = 7


def read(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield ``source.mock.rows`` rows in batches; the same seed gives the same rows.

    Every value is text, as from a CSV file. A column of the primary key counts up. The share ``bad_ratio`` of the rows
    has, in one of the columns that are not text, a value that does not parse.

    Raises:
        DataflowError: ``processing.columns`` declares no column.
    """
    source, columns = config.source.mock, config.processing.columns
    if not columns:
        raise DataflowError(
            "the mock source generates the columns of processing.columns, which declares none"
        )
    rng = random.Random(source.seed)  # noqa: S311 - rows, not secrets
    breakable = [name for name, kind in columns.items() if kind not in ("string", "json")]
    for start in range(0, source.rows, config.processing.batch_size):
        rows = []
        for number in range(start, min(start + config.processing.batch_size, source.rows)):
            row = {
                name: str(number)
                if name in config.processing.primary_key
                else _value(kind, name, rng, number, source.rows)
                for name, kind in columns.items()
            }
            # Spread evenly, so that the share is met exactly and not by luck.
            if int((number + 1) * source.bad_ratio) > int(number * source.bad_ratio):
                if not breakable:
                    raise DataflowError(
                        "source.mock.bad_ratio: every column is text, so no value can be unreadable"
                    )
                row[rng.choice(breakable)] = "not a value"
            rows.append(row)
        yield pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String))


def _decimal(kind: str, rng: random.Random) -> Decimal:
    precision, scale = decimal_digits(kind) or (0, 0)
    # Below a hundred and with two places, or what the type has less of.
    places, whole = min(scale, 2), min(precision - scale, 2)
    return Decimal(rng.randrange(10 ** (whole + places))).scaleb(-places)


def _value(kind: str, name: str, rng: random.Random, number: int, rows: int) -> str:
    # Times rise with the row's number, as in a log.
    time = _START + timedelta(days=_DAYS) * (number / max(rows, 1))
    values: dict[str, Any] = {
        "string": f"{name}_{rng.randrange(5)}",
        "integer": rng.randrange(1000),
        "float": round(rng.uniform(0, 100), 3),
        "decimal": _decimal(kind, rng),
        "boolean": str(rng.random() < 0.5).lower(),
        "date": date(2024, 1, 1) + timedelta(days=number * _DAYS // max(rows, 1)),
        "timestamp": time.isoformat(),
        "epoch_s": int(time.timestamp()),
        "epoch_ms": int(time.timestamp() * 1000),
        "json": f'{{"n": {number}}}',
    }
    return str(values["decimal" if decimal_digits(kind) else kind])
