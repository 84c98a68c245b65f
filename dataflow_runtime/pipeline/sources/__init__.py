"""The sources that ``source.type`` names. Each is one function: config in, an iterator of batches out."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.frames import to_frame

__all__ = ["read_source"]


def read_source(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield the rows of the configured source in batches.

    Raises:
        DataflowError: The source cannot be reached or read; the message names the file, line or URL.
    """
    # Imported when used: a file source needs neither an HTTP client nor SQLAlchemy.
    module = import_module(f"{__name__}.{_MODULES[config.source.type]}")
    yield from map(to_frame, module.read(config))


_MODULES = {"api": "api", "database": "database", "file": "files", "mock": "mock"}
