import os
from collections.abc import Iterator

import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.sources import read_source
from orders.chaos import moment, wait_for_a_word

print("orders is being imported")  # noqa: T201


def extract(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    wait_for_a_word()
    for rows in read_source(config):
        print("extracting", rows.height)  # noqa: T201
        os.write(1, b"extracting, from below Python\n")
        moment("extract")
        yield rows
