"""Parquet files of one run, between the steps: ``<staging>/<workflow>/<run id>/<part of the run>/``.

The root is a folder, or the URL of any fsspec file system that the machines of a run share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError

__all__ = [
    "Parts",
    "batched",
    "file_system",
    "only_file",
    "part_schemas",
    "read_parts",
    "remove",
    "remove_old",
]


class Parts(AbstractContextManager["Parts"]):
    """A folder of Parquet files, written one batch at a time: a row group each, a new file where the columns change.

    What an earlier try left in the folder is removed first, so a step that is run again starts from nothing. The files
    are whole once the block is left.

    Args:
        folder: The folder.
        required: The columns that have a value in every row. The files say so, as the table will.

    Attributes:
        rows: Number of rows written.
    """

    def __init__(self, folder: str, *, required: Sequence[str] = ()) -> None:
        self.rows = 0
        self._folder = folder
        self._required = required
        self._count = 0
        self._file = ExitStack()
        self._schema: pl.Schema | None = None
        with file_system(folder) as (files, path):
            if files.exists(path):
                files.rm(path, recursive=True)
            files.makedirs(path, exist_ok=True)
            # A folder without a file is none in an object store.
            files.touch(f"{path}/{_STARTED}")
        # A batch is written while the next one is made.
        self._writing = ThreadPoolExecutor(1)
        self._written: Future[None] = self._writing.submit(lambda: None)

    def add(self, frame: pl.DataFrame) -> None:
        """Write a batch.

        Raises:
            DataflowError: The file cannot be written, for example because the disk is full, or a column is of a type
                that Parquet does not have.
        """
        for name, dtype in frame.schema.items():
            if str(dtype) in _NOT_IN_PARQUET:
                raise DataflowError(
                    f"column {name!r} is of type {dtype}, which cannot be staged",
                    hint="cast it, for example to text",
                )
        with file_system(self._folder):
            self._written.result()
            self._written = self._writing.submit(self._write, frame)
        self.rows += frame.height

    def _write(self, frame: pl.DataFrame) -> None:
        rows = frame.to_arrow()
        if frame.schema != self._schema:
            self._file.close()
            schema = pa.schema(
                field.with_nullable(field.name not in self._required) for field in rows.schema
            )
            with file_system(self._folder) as (files, path):
                file = self._file.enter_context(
                    files.open(f"{path}/part-{self._count:06}.parquet", "wb")
                )
            # Without dictionaries, which cost more time than zstd leaves for them to save.
            self._writer = self._file.enter_context(
                pq.ParquetWriter(
                    file, schema, compression="zstd", compression_level=1, use_dictionary=False
                )
            )
            self._schema = frame.schema
            self._count += 1
        if frame.height:
            self._writer.write_table(rows.cast(self._writer.schema))

    def __exit__(self, *_: object) -> None:
        self._writing.shutdown()
        with file_system(self._folder):
            self._file.close()
            self._written.result()


_STARTED = "started"
_NOT_IN_PARQUET = ("Int128", "UInt128", "Object")


@contextmanager
def file_system(folder: str) -> Iterator[tuple[Any, str]]:
    """Give the file system of a folder or URL, and the path in it.

    Raises:
        DataflowError: Whatever goes wrong with it meanwhile; the message names the folder.
    """
    import fsspec

    try:
        yield fsspec.core.url_to_fs(folder)
    except DataflowError:
        raise
    except ImportError as error:
        raise DataflowError(
            f"staging {mask(folder)}: {error}", hint='for s3://: pip install "dataflow-runtime[s3]"'
        ) from error
    except Exception as error:  # each file system has errors of its own
        # Polars says in its own words first what the system says last, such as that the disk is full.
        reason = (
            getattr(error, "strerror", None)
            or str(error).rpartition(": ")[2]
            or type(error).__name__
        )
        raise DataflowError(
            mask(f"staging {folder}: {reason}"), hint="DATAFLOW_STAGING names another folder or URL"
        ) from error


def read_parts(folder: str, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """Yield the frames that `Parts` wrote, in order; one of them is in memory at a time.

    A column that only some of them have is null in the others: a page of records may lack a key that another one has.

    Args:
        folder: The folder.
        columns: The only columns to read.

    Raises:
        DataflowError: The folder is gone.
    """
    with file_system(folder) as (files, path):
        if not files.exists(f"{path}/{_STARTED}"):
            raise DataflowError(
                f"staging {mask(folder)} is gone: it is removed once its run has loaded",
                hint="run the workflow from the start",
            )
    dtypes: dict[str, pl.DataType] = {}
    for schema in part_schemas(folder):
        for name, dtype in schema.items():
            if dtypes.setdefault(name, dtype) == pl.Null:
                dtypes[name] = dtype
    wanted = (
        dtypes if columns is None else {name: dtypes[name] for name in columns if name in dtypes}
    )
    with file_system(folder) as (files, path):
        for part in _parts(files, path):
            with files.open(part, "rb") as file, pq.ParquetFile(file) as rows:
                names = [name for name in rows.schema_arrow.names if name in wanted]
                groups = (rows.read_row_group(group, names) for group in range(rows.num_row_groups))
                for group in groups if rows.num_row_groups else (rows.schema_arrow.empty_table(),):
                    yield pl.DataFrame(group).with_columns(
                        pl.lit(None, dtype=dtype).alias(name)
                        for name, dtype in wanted.items()
                        if name not in names
                    )


def part_schemas(folder: str) -> Iterator[Mapping[str, pl.DataType]]:
    """Yield the columns of each file that `Parts` wrote, in order; no row is read."""
    with file_system(folder) as (files, path):
        for part in _parts(files, path):
            with files.open(part, "rb") as file:
                yield pl.read_parquet_schema(file)


def only_file(folder: str) -> str | None:
    """Return the path of the file that `Parts` wrote, None where it wrote several or is not on this machine."""
    with file_system(folder) as (files, path):
        parts = _parts(files, path)
        return parts[0] if len(parts) == 1 and isinstance(files, LocalFileSystem) else None


def _parts(files: Any, path: str) -> list[str]:
    return sorted(files.glob(f"{path}/part-*.parquet"))


def batched(frames: Iterable[pl.DataFrame], size: int) -> Iterator[pl.DataFrame]:
    """Yield the rows of `frames` in frames of at most `size` rows, in order.

    Neighbours of the same schema are put together (a hundred pages of a hundred rows become one batch), larger frames
    are cut; frames without rows are dropped.
    """
    waiting: list[pl.DataFrame] = []
    height = 0
    for frame in frames:
        if waiting and (frame.schema != waiting[0].schema or height + frame.height > size):
            yield pl.concat(waiting)
            waiting, height = [], 0
        if frame.height >= size:
            yield from frame.iter_slices(size)
        elif not frame.is_empty():
            waiting.append(frame)
            height += frame.height
    if waiting:
        yield pl.concat(waiting)


def remove(folder: str) -> None:
    """Remove a folder with all that is in it."""
    with file_system(folder) as (files, path):
        if files.exists(path):
            files.rm(path, recursive=True)


def remove_old(folder: str, age: timedelta) -> None:
    """Remove the runs in a workflow's staging folder that nothing was written to for longer than `age`."""
    oldest = datetime.now(UTC) - age
    with file_system(folder) as (files, path):
        for run in files.ls(path, detail=True) if files.exists(path) else ():
            if run["type"] == "directory":
                written = [files.modified(file) for file in files.find(run["name"])]
                if written and max(written) < oldest:
                    files.rm(run["name"], recursive=True)
