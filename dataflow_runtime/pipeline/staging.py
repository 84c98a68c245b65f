"""Parquet files of one run, between the steps: ``<staging>/<workflow>/<run id>/<part of the run>/``."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import polars as pl

from dataflow_runtime.errors import DataflowError

__all__ = ["Parts", "batched", "part_schemas", "read_parts", "remove_old"]


class Parts:
    """A folder of Parquet files, written one batch at a time.

    What an earlier try left in the folder is removed first, so a step that is run again starts from nothing.

    Attributes:
        rows: Number of rows written.
    """

    def __init__(self, folder: Path) -> None:
        self.rows = 0
        self._folder = folder
        self._count = 0
        with _clear_errors(folder):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)

    def add(self, frame: pl.DataFrame) -> None:
        """Write a batch.

        Raises:
            DataflowError: The file cannot be written, for example because the disk is full.
        """
        with _clear_errors(self._folder):
            frame.write_parquet(
                self._folder / f"part-{self._count:06}.parquet", compression="zstd", compression_level=1
            )
        self._count += 1
        self.rows += frame.height


@contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        # Polars tells of a full disk in words of its own, the system's last.
        reason = str(getattr(error, "strerror", None) or error).rpartition(": ")[2]
        raise DataflowError(f"staging {folder}: {reason}", hint="DATAFLOW_STAGING names another folder") from error


def read_parts(folder: Path) -> Iterator[pl.DataFrame]:
    """Yield the frames that `Parts` wrote, in order; one Parquet file is in memory at a time.

    A column that only some of them have is null in the others: a page of records may lack a key that another one has.

    Raises:
        DataflowError: The folder is gone.
    """
    if not folder.is_dir():
        raise DataflowError(
            f"staging {folder} is gone: it is removed once its run has loaded", hint="run the workflow from the start"
        )
    parts = sorted(folder.glob("part-*.parquet"))
    columns: dict[str, pl.DataType] = {}
    for part in parts:
        for name, dtype in pl.read_parquet_schema(part).items():
            if columns.setdefault(name, dtype) == pl.Null:
                columns[name] = dtype
    for part in parts:
        frame = pl.read_parquet(part, glob=False)
        missing = columns.keys() - set(frame.columns)
        yield frame.with_columns(
            pl.lit(None, dtype=dtype).alias(name) for name, dtype in columns.items() if name in missing
        )


def part_schemas(folder: Path) -> Iterator[Mapping[str, pl.DataType]]:
    """Yield the columns of each file that `Parts` wrote, in order; no row is read."""
    return (pl.read_parquet_schema(part) for part in sorted(folder.glob("part-*.parquet")))


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


def remove_old(folder: Path, age: timedelta) -> None:
    """Remove the runs in a workflow's staging folder that nothing was written to for longer than `age`."""
    oldest = time.time() - age.total_seconds()
    for run in folder.iterdir() if folder.is_dir() else ():
        written = [part.stat().st_mtime for part in (run, *run.iterdir())] if run.is_dir() else []
        if written and max(written) < oldest:
            shutil.rmtree(run, ignore_errors=True)
