from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.schema import scan
from dataflow_runtime.pipeline.staging import (
    BatchWriter,
    batched,
    count_rows,
    files_of,
    remove_abandoned,
    remove_old,
    scratch,
    writing,
)


def frame(*values: int) -> pl.DataFrame:
    return pl.DataFrame({"a": values}, schema={"a": pl.Int64})


def write(folder: str, *frames: pl.DataFrame) -> int:
    with writing(folder) as path, BatchWriter(path) as writer:
        for rows in frames:
            writer.write(rows)
    return writer.rows


def read(folder: str) -> pl.DataFrame:
    with files_of(folder) as files:
        return scan(files).collect()


@pytest.fixture(params=["folder", "url"])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> Iterable[str]:
    """A place for rows: a folder, and a URL whose files are copied."""
    if request.param == "folder":
        return str(tmp_path / "rows")
    return f"memory://{tmp_path.name}/rows"


def test_what_is_written_is_read_in_order(rows: str) -> None:
    assert write(rows, *map(frame, range(12))) == 12
    assert read(rows)["a"].to_list() == list(range(12))


def test_a_new_file_begins_where_the_columns_change(tmp_path: Path) -> None:
    write(str(tmp_path / "rows"), frame(1), frame(2), pl.DataFrame({"a": ["x"]}), frame(3))
    files = sorted((tmp_path / "rows").iterdir())
    assert [pl.read_parquet(file)["a"].to_list() for file in files] == [[1, 2], ["x"], [3]]
    assert count_rows(tmp_path / "rows") == 4
    assert read(str(tmp_path / "rows"))["a"].to_list() == ["1", "2", "x", "3"]


def test_a_second_try_starts_from_nothing(rows: str) -> None:
    write(rows, frame(1, 2), pl.DataFrame({"a": ["x"]}))
    write(rows, frame(3))
    assert read(rows)["a"].to_list() == [3]


def test_a_folder_that_is_gone(rows: str) -> None:
    with pytest.raises(DataflowError, match="is gone") as raised:
        read(rows)
    assert raised.value.hint == "run the workflow from the start"


def test_a_folder_without_rows_is_not_gone(rows: str) -> None:
    write(rows)
    with files_of(rows) as files:
        assert files == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataflowError, match=r"staging .*file") as raised:
        write(str(tmp_path / "file" / "rows"))
    assert "DATAFLOW_STAGING" in str(raised.value.hint)


def test_runs_last_written_to_before_the_age_are_removed(tmp_path: Path) -> None:
    for run, days in (("old", 8), ("recent", 6), ("new", 0)):
        write(str(tmp_path / run / "extracted"), frame(1))
        for file in (tmp_path / run / "extracted").iterdir():
            written = time.time() - days * 24 * 3600
            os.utime(file, (written, written))
    remove_old(str(tmp_path), timedelta(days=7))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "recent"]
    remove_old(str(tmp_path / "never"), timedelta(days=7))


def test_frames_of_different_columns_stay_apart() -> None:
    other = pl.DataFrame({"b": ["x"]})
    found = list(batched([frame(1), frame(2), other, frame(3)], 10))
    assert [part.columns for part in found] == [["a"], ["b"], ["a"]]


@given(st.lists(st.integers(0, 7), max_size=12), st.integers(1, 5))
def test_batches_hold_every_row_in_order(heights: list[int], size: int) -> None:
    numbers = iter(range(1000))
    frames = [frame(*(next(numbers) for _ in range(height))) for height in heights]
    found = list(batched(frames, size))
    assert all(0 < part.height <= size for part in found)
    assert [value for part in found for value in part["a"]] == list(range(sum(heights)))


def test_folders_of_killed_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    process = subprocess.Popen(["true"])
    process.wait()
    (tmp_path / f"dataflow-{process.pid}-abandoned").mkdir()
    (tmp_path / "dataflow-of-somebody-else").mkdir()
    with scratch() as folder:
        remove_abandoned()
        assert sorted(tmp_path.iterdir()) == sorted(
            [tmp_path / "dataflow-of-somebody-else", folder]
        )
    assert not folder.exists()


def test_a_column_that_only_some_parts_have_is_null_in_the_others(rows: str) -> None:
    write(rows, pl.DataFrame({"a": [1], "b": [None]}), pl.DataFrame({"c": ["x"], "b": ["y"]}))
    assert read(rows).to_dicts() == [
        {"a": 1, "b": None, "c": None},
        {"a": None, "b": "y", "c": "x"},
    ]
