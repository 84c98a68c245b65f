"""Where rows come from."""

from collections.abc import Iterator

import polars as pl
from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.sources import scan_source


def extract(config: WorkflowConfig) -> pl.LazyFrame | Iterator[pl.DataFrame]:
    """Return the rows of the configured source as they are.

    Read a source that the runtime does not know here: return a LazyFrame, or yield data frames, each small enough for
    memory.
    """
    return scan_source(config)
