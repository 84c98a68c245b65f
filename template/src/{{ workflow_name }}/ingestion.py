"""Where rows come from."""

from collections.abc import Iterator

import polars as pl
from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.sources import read_source


def extract(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield the rows of the configured source as they are, in batches of `processing.batch_size`.

    A source that the runtime does not know is read here: yield data frames, each small enough for memory.
    """
    yield from read_source(config)
