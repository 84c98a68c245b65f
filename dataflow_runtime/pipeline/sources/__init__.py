"""The sources that ``source.type`` names. Each is one function: a config in, its rows out."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.frames import to_frame

__all__ = ["read_source", "scan_source"]

_MODULES = {"api": "api", "database": "database", "file": "files", "mock": "mock"}


def scan_source(config: WorkflowConfig) -> pl.LazyFrame | Iterator[pl.DataFrame]:
    """Return the rows of the configured source.

    Local CSV and Parquet files are one lazy query, which transform runs without a copy of them;
    everything else comes in batches of at most about ``processing.batch_size`` rows.

    Raises:
        DataflowError: The source cannot be reached or read; the message names the file, line or
            URL. Batches raise it when they are read.
    """
    # Imported when used: a file source needs neither an HTTP client nor SQLAlchemy.
    module = import_module(f"{__name__}.{_MODULES[config.source.type]}")
    rows = module.read(config)
    return rows if isinstance(rows, pl.LazyFrame) else map(to_frame, rows)


def read_source(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield the rows of the configured source in batches; see `scan_source`."""
    rows = scan_source(config)
    if not isinstance(rows, pl.LazyFrame):
        yield from rows
        return
    from dataflow_runtime.pipeline.sources.files import readable

    with readable(config):
        yield from rows.collect_batches(
            chunk_size=config.processing.batch_size, maintain_order=True
        )
