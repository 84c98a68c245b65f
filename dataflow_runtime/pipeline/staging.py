"""Parquet files of one run, between the steps: ``<staging>/<workflow>/<run id>/<part>/``.

The root is a folder, or the URL of an fsspec file system that the machines of a run share. Polars,
DuckDB and ADBC read and write local files: those of a URL are copied to this machine first, and
back once they are whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from dataflow_runtime.config import Window
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError

__all__ = [
    "BatchWriter",
    "SourceFile",
    "StagedRun",
    "batched",
    "count_rows",
    "file_system",
    "files_of",
    "is_remote",
    "remove",
    "remove_abandoned",
    "remove_old",
    "scratch",
    "sink",
    "writing",
]


@dataclass(frozen=True)
class SourceFile:
    """A local file that is read where it is, as it was when the run began."""

    path: str
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: str) -> SourceFile:
        """Describe the file as it is now."""
        found = Path(path).stat()
        return cls(path, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class StagedRun:
    """What one step hands the next: small and picklable. The rows are in files below `staging`.

    Attributes:
        run_id: The run that extracted the rows; a re-execution keeps it.
        staging: Folder or URL of the run's files.
        load_id: Identifies the rows of an append without a cursor in the warehouse.
        files: The source's files, where transform reads them in place; empty where the rows are
            staged.
        window: The rows that the run reads of the source, None for all.
        replayed: SQL condition on the rejected rows that the run reads instead of the source.
        env: Config overlay of the run.
        overrides: Config values of the run, dotted key to value.
        extracted: Rows read from the source; 0 until transform has read files in place.
        rejected: Rows that a check refused.
        rejected_by: Rows refused by each check; a row that fails two counts for both.
        duplicates: Rows left out because another row of the run has the same primary key.
        loaded: Rows for the table.
        columns: Types of the table's columns in SQL, by name; empty until it is loaded.
    """

    run_id: str
    staging: str
    load_id: str = ""
    files: Sequence[SourceFile] = ()
    window: Window | None = None
    replayed: str = ""
    env: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    extracted: int = 0
    rejected: int = 0
    rejected_by: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    loaded: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)

    def folder(self, part: str) -> str:
        """Return the folder of one part of the run: ``extracted``, ``accepted`` or ``rejected``."""
        return f"{self.staging}/{part}"


def is_remote(folder: str) -> bool:
    """Return whether a folder is the URL of a file system that machines share."""
    return "://" in folder


@contextmanager
def file_system(folder: str) -> Iterator[tuple[Any, str]]:
    """Give the file system of a folder or URL, and the path in it.

    Raises:
        DataflowError: Reading or writing it failed; the message names the folder.
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
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataflowError(
            mask(f"staging {folder}: {reason}"),
            hint="DATAFLOW_STAGING can name another folder or URL",
        ) from error


@contextmanager
def scratch() -> Iterator[Path]:
    """Give an empty folder on this machine, which is removed at the end."""
    with TemporaryDirectory(prefix=f"dataflow-{os.getpid()}-") as folder:
        yield Path(folder)


def remove_abandoned() -> None:
    """Remove the `scratch` folders of processes that were killed."""
    for folder in Path(gettempdir()).glob("dataflow-*-*"):
        process = folder.name.split("-")[1]
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, PermissionError):
            continue  # not ours, or alive


@contextmanager
def writing(folder: str) -> Iterator[Path]:
    """Give an empty local folder to write; what is in it at the end is in `folder`, whole.

    What an earlier try left in `folder` is removed first: a step that runs again starts afresh.
    """
    remove(folder)
    if not is_remote(folder):
        with file_system(folder) as (files, path):
            files.makedirs(path)
        yield Path(path)
        return
    with scratch() as local:
        yield local
        with file_system(folder) as (files, path):
            # An object store has no empty folders.
            files.pipe_file(f"{path}/_started", b"")
            for file in sorted(local.glob("*.parquet")):
                files.put_file(str(file), f"{path}/{file.name}")


@contextmanager
def files_of(folder: str) -> Iterator[list[str]]:
    """Give the paths of a folder's Parquet files, in order, on this machine.

    Raises:
        DataflowError: The folder is gone.
    """
    with file_system(folder) as (files, path):
        if not files.exists(path):
            raise DataflowError(
                f"staging {mask(folder)} is gone: it is removed once its run has loaded",
                hint="run the workflow from the start",
            )
        found = sorted(files.glob(f"{path}/*.parquet"))
    if not is_remote(folder):
        yield found
        return
    with scratch() as local:
        copies = [str(local / file.rpartition("/")[2]) for file in found]
        with file_system(folder) as (files, _):
            for file, copy in zip(found, copies, strict=True):
                files.get_file(file, copy)
        yield copies


class BatchWriter(AbstractContextManager["BatchWriter"]):
    """Writes frames as Parquet files, a row group each, and a new file where the columns change.

    Attributes:
        rows: Number of rows written.
    """

    def __init__(self, folder: Path) -> None:
        self.rows = 0
        self._folder = folder
        self._file = ExitStack()
        self._files = 0
        self._schema: pl.Schema | None = None

    def write(self, frame: pl.DataFrame) -> None:
        """Write a frame."""
        with file_system(str(self._folder)):
            table = frame.to_arrow()
            if frame.schema != self._schema:
                self._file.close()
                path = self._folder / f"part-{self._files:06}.parquet"
                writer = pq.ParquetWriter(path, table.schema, compression="lz4")
                self._writer = self._file.enter_context(writer)
                self._schema = frame.schema
                self._files += 1
            self._writer.write_table(table)
        self.rows += frame.height

    def __exit__(self, *_: object) -> None:
        with file_system(str(self._folder)):
            self._file.close()


def sink(rows: pl.LazyFrame, file: Path) -> pl.LazyFrame:
    """Return the query that writes rows to a Parquet file."""
    return rows.sink_parquet(file, compression="lz4", maintain_order=True, lazy=True)


def count_rows(folder: Path) -> int:
    """Return the number of rows in a folder's Parquet files."""
    return sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))


def batched(frames: Iterable[pl.DataFrame], size: int) -> Iterator[pl.DataFrame]:
    """Yield the rows of `frames` in frames of at most `size` rows, in order.

    Neighbours of the same schema are put together (a hundred pages of a hundred rows become one
    batch), larger frames are cut, and frames without rows are dropped.
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
    """Remove the runs of a workflow's staging that were last written to more than `age` ago."""
    oldest = datetime.now(UTC) - age
    with file_system(folder) as (files, path):
        for run in files.ls(path, detail=True) if files.exists(path) else ():
            written = [files.modified(file) for file in files.find(run["name"])]
            if written and max(written) < oldest:
                files.rm(run["name"], recursive=True)
