"""Moves staged rows into the warehouse with dlt."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.evolution import make_room
from dataflow_runtime.pipeline.schema import conform, loadable, unify
from dataflow_runtime.pipeline.staging import part_schemas, read_parts
from dataflow_runtime.pipeline.warehouse import destination, exclusive, reach

__all__ = ["load", "tables"]


# A merge without keys is an append that goes through dlt's staging tables: one transaction, all rows or none.
_DISPOSITIONS = {"merge": "merge", "append": "merge", "replace": "replace"}


def tables(config: WorkflowConfig) -> tuple[str, str]:
    """Return the fully qualified names of the table and of its rejected rows."""
    name = f"{config.output.schema_}.{config.output.table}"
    return name, f"{name}_rejected"


def load(config: WorkflowConfig, *, accepted: Path, rejected: Path, working_folder: Path) -> None:
    """Load both staged folders into their tables, in one dlt package.

    Every disposition is one transaction: readers see the table before it or after it. A merge finds a row's earlier
    version by the primary key. Rejected rows are merged by their key, so that a repeated run keeps each once.

    Args:
        config: Where to, and how.
        accepted: Parquet folder of the rows for the table.
        rejected: Parquet folder of the rows for ``<table>_rejected``.
        working_folder: dlt's own state. It belongs to one run: what a killed run left undone is never picked up by the
            next, which loads its own rows.

    Raises:
        DataflowError: The warehouse cannot be reached, or refuses the rows.
    """
    import dlt

    output = config.output
    hints: dict[str, Any] = {"write_disposition": _DISPOSITIONS[output.write_disposition]}
    if output.write_disposition == "merge":
        hints["primary_key"] = config.processing.primary_key
        if config.processing.cursor:
            # Of two versions of a row in one load the newer one stays.
            hints["columns"] = {config.processing.cursor.column: {"dedup_sort": "desc"}}
    found = unify(loadable(pl.DataFrame(schema=schema)).schema for schema in part_schemas(accepted))
    # What an earlier try of this step left would be loaded in place of the rows: dlt finishes what it has begun.
    shutil.rmtree(working_folder, ignore_errors=True)
    with exclusive(config), reach(config):
        types = make_room(config, found)
        resources = [
            dlt.resource(_arrow(accepted, types), name=output.table, **hints),
            dlt.resource(
                (loadable(frame).to_arrow() for frame in read_parts(rejected)),
                name=f"{output.table}_rejected",
                write_disposition="replace" if output.write_disposition == "replace" else "merge",
                primary_key="row_key",
            ),
        ]
        pipeline = dlt.pipeline(
            pipeline_name=config.workflow,
            destination=destination(config),
            dataset_name=output.schema_,
            pipelines_dir=str(working_folder),
        )
        # Parquet is the fastest way into either warehouse; dlt's own choice for PostgreSQL is a tenth of its speed.
        pipeline.run(resources, loader_file_format="parquet")


def _arrow(folder: Path, types: Mapping[str, pl.DataType]) -> Iterator[pa.Table]:
    for frame in read_parts(folder):
        yield conform(loadable(frame), types).to_arrow()
