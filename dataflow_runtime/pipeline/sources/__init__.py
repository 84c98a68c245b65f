"""The sources that ``source.type`` names. Each is one function: config in, an iterator of batches out."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.cursor import newer_than, since
from dataflow_runtime.pipeline.frames import to_frame

__all__ = ["read_source"]


def read_source(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield the rows of the configured source in batches; with ``processing.cursor`` only those that may be new.

    Raises:
        DataflowError: The source cannot be reached or read; the message names the file, line or URL.
    """
    # Imported when used: a file source needs neither an HTTP client nor SQLAlchemy.
    module = import_module(f"{__name__}.{_MODULES[config.source.type]}")
    lower_bound = since(config)
    for rows in module.read(config):
        frame = to_frame(rows)
        yield frame if lower_bound is None else newer_than(frame, config, lower_bound)


_MODULES = {"api": "api", "database": "database", "file": "files", "mock": "mock"}
