"""Moves staged rows into the warehouse with dlt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.evolution import make_room
from dataflow_runtime.pipeline.manifest import Manifest
from dataflow_runtime.pipeline.schema import conform, loadable, unify
from dataflow_runtime.pipeline.staging import only_file, part_schemas, read_parts
from dataflow_runtime.pipeline.unfinished import LOAD_ID, needs_load_id
from dataflow_runtime.pipeline.warehouse import column_name, destination, exclusive, quoted, reach
from dataflow_runtime.pipeline.window import condition

__all__ = ["load", "tables"]


def tables(config: WorkflowConfig) -> tuple[str, str]:
    """Return the fully qualified names of the table and of its rejected rows."""
    name = f"{config.output.schema_}.{config.output.table}"
    return name, f"{name}_rejected"


def load(config: WorkflowConfig, manifest: Manifest) -> None:
    """Load the accepted and the rejected rows into their tables.

    Every disposition is one transaction: readers see the table before it or after it. A merge finds a row's earlier
    version by the primary key; an append takes the place of what an earlier try of the same load left. Rejected rows
    are merged by their key, so that a repeated run keeps each once.

    Raises:
        DataflowError: The warehouse cannot be reached, or refuses the rows.
    """
    import dlt

    output = config.output
    added = {LOAD_ID: manifest.load_id} if needs_load_id(config) else {}
    # Each table is a transaction of its own. Rejected rows come first: once the table has newer rows than they are,
    # a cursor passes them by.
    # dlt finishes what an earlier try left in its working folder, in place of these rows: so it always gets a new one.
    with TemporaryDirectory(prefix="dataflow-") as folder, exclusive(config), reach(config):
        accepted, rejected = manifest.folder("accepted"), manifest.folder("rejected")
        columns = make_room(config, _columns(accepted))
        table = dlt.resource(
            _rows(accepted, columns, added), name=output.table, **_hints(config, manifest)
        )
        table_rejected = dlt.resource(
            _rows(rejected, _columns(rejected), {}),
            name=f"{output.table}_rejected",
            write_disposition="replace" if output.write_disposition == "replace" else "merge",
            primary_key="row_key",
        )
        pipeline = dlt.pipeline(
            pipeline_name=config.workflow,
            destination=destination(config),
            dataset_name=output.schema_,
            pipelines_dir=folder,
        )
        # Parquet is the fastest way into either warehouse; dlt's own choice for PostgreSQL is a tenth of its speed.
        for resources in (
            ([table_rejected], [table]) if manifest.rejected else ([table, table_rejected],)
        ):
            pipeline.run(resources, loader_file_format="parquet")


def _hints(config: WorkflowConfig, manifest: Manifest) -> dict[str, Any]:
    """Return dlt's hints for the table."""
    cursor, accepted, hints = (
        config.processing.cursor,
        manifest.folder("accepted"),
        dict[str, Any](),
    )
    if config.output.write_disposition == "replace":
        return hints | {"write_disposition": "replace"}
    merge: dict[str, Any] = {"disposition": "merge", "strategy": "delete-insert"}
    if config.output.write_disposition == "append":
        if cursor is None:
            place = f"{quoted(LOAD_ID)} = '{manifest.load_id}'"
        else:
            newest = (
                part[cursor.column].max()
                for part in read_parts(accepted, [cursor.column])
                if part.height
            )
            place = condition(config, manifest.window, max(newest, default=None))  # type: ignore[type-var]
        # dlt fills in placeholders between braces.
        merge["destination_scope"] = place.replace("{", "{{").replace("}", "}}")
    elif _unique(accepted, config.processing.primary_key, manifest.loaded):
        merge["deduplicated"] = True
    elif cursor is not None:
        # Of two versions of a row in one load the newer one stays.
        hints["columns"] = {column_name(cursor.column): {"dedup_sort": "desc"}}
    if config.output.write_disposition == "merge":
        hints["primary_key"] = [column_name(name) for name in config.processing.primary_key]
    return hints | {"write_disposition": merge}


_HASHES_AT_A_TIME = 4_000_000


def _unique(folder: str, columns: Sequence[str], rows: int) -> bool:
    """Return whether no two rows have the same key: then dlt need not sort them all, which takes memory and time.

    Hashes are compared, so different keys may pass for the same one; never the other way round. It holds a bounded
    number of them at a time.
    """
    passes = -(-rows // _HASHES_AT_A_TIME)
    for number in range(passes):
        hashes = (part.hash_rows() for part in read_parts(folder, columns))
        some = pl.concat([part.filter(part % passes == number) for part in hashes])
        if some.n_unique() < some.len():
            return False
    return True


def _rows(
    folder: str, columns: Mapping[str, pl.DataType], added: Mapping[str, str]
) -> Iterator[Any]:
    """Yield the staged rows for dlt, with the given columns: the file as it is where it has just these."""
    import dlt

    file = only_file(folder)
    if file and not added and [*pl.read_parquet_schema(file).items()] == [*columns.items()]:
        empty = pl.DataFrame(schema=columns).to_arrow()
        yield dlt.mark.with_file_import(file, "parquet", pq.read_metadata(file).num_rows, empty)
        return
    for frame in read_parts(folder):
        if taken := added.keys() & set(frame.columns):
            raise DataflowError(
                f"the rows have a column {min(taken)!r}, which the runtime adds", hint="rename it"
            )
        rows = conform(loadable(frame), columns)
        yield rows.with_columns(
            pl.lit(value).alias(name) for name, value in added.items()
        ).to_arrow()


def _columns(folder: str) -> dict[str, pl.DataType]:
    """Return one type for each column of all staged rows."""
    return unify(loadable(pl.DataFrame(schema=schema)).schema for schema in part_schemas(folder))
