"""Moves staged rows into the warehouse with dlt."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.columns import as_json
from dataflow_runtime.pipeline.staging import read_parts
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
    if output.schema_contract == "freeze":
        hints["schema_contract"] = {"columns": "freeze", "data_type": "freeze"}
    resources = [
        dlt.resource(_arrow(accepted), name=output.table, **hints),
        dlt.resource(
            _arrow(rejected),
            name=f"{output.table}_rejected",
            write_disposition="replace" if output.write_disposition == "replace" else "merge",
            primary_key="row_key",
        ),
    ]
    # What an earlier try of this step left would be loaded in place of the rows: dlt finishes what it has begun.
    shutil.rmtree(working_folder, ignore_errors=True)
    with exclusive(config), reach(config):
        pipeline = dlt.pipeline(
            pipeline_name=config.workflow,
            destination=destination(config),
            dataset_name=output.schema_,
            pipelines_dir=str(working_folder),
        )
        # Parquet is the fastest way into either warehouse; dlt's own choice for PostgreSQL is a tenth of its speed.
        pipeline.run(resources, loader_file_format="parquet")


def _arrow(folder: Path) -> Iterator[pa.Table]:
    for frame in read_parts(folder):
        yield _loadable(frame).to_arrow()


def _loadable(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame as a warehouse can hold it.

    Columns of no type are left out (nothing is in them), nested values become JSON text, and quotes, semicolons,
    backslashes and control characters in a column's name become ``_``.

    Raises:
        DataflowError: Two columns have the same name then.
    """
    frame = frame.drop(name for name, dtype in frame.schema.items() if dtype == pl.Null)
    names = {name: re.sub(r"[;'\"`\\\x00-\x1f]+", "_", name) for name in frame.columns}
    if len(set(names.values())) < len(names):
        taken = [name for name in names if list(names.values()).count(names[name]) > 1]
        raise DataflowError(f"columns {taken} have the same name in a warehouse", hint="rename them in transform()")
    nested = (name for name, dtype in frame.schema.items() if dtype.is_nested())
    return frame.with_columns(as_json(frame[name]) for name in nested).rename(names)
