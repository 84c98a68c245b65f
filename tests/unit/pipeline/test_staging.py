from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.staging import Parts, batched, only_file, read_parts


def frame(*values: int) -> pl.DataFrame:
    return pl.DataFrame({"a": values}, schema={"a": pl.Int64})


def test_what_is_written_is_read_in_order(tmp_path: Path) -> None:
    with Parts(str(tmp_path / "rows")) as parts:
        for number in range(12):
            parts.add(frame(number))
    assert parts.rows == 12
    assert pl.concat(read_parts(str(tmp_path / "rows")))["a"].to_list() == list(range(12))


def test_batches_of_the_same_columns_are_one_file_that_says_what_is_required(
    tmp_path: Path,
) -> None:
    with Parts(str(tmp_path / "rows"), required=["a"]) as parts:
        parts.add(frame())
        parts.add(frame(1))
        parts.add(frame(2))
    file = only_file(str(tmp_path / "rows"))
    assert file is not None
    assert [field.nullable for field in pq.read_schema(file)] == [False]
    assert pl.read_parquet(file)["a"].to_list() == [1, 2]


def test_files_without_rows_have_their_columns(tmp_path: Path) -> None:
    with Parts(str(tmp_path / "rows")) as parts:
        parts.add(frame())
        parts.add(pl.DataFrame({"a": ["x"]}))
    assert only_file(str(tmp_path / "rows")) is None
    assert [part.schema for part in read_parts(str(tmp_path / "rows"))] == [
        {"a": pl.Int64},
        {"a": pl.String},
    ]


@pytest.mark.parametrize(
    "values", [pl.Series([object()], dtype=pl.Object), pl.Series([1], dtype=pl.Int128)]
)
def test_a_type_that_parquet_does_not_have(tmp_path: Path, values: pl.Series) -> None:
    with (
        pytest.raises(DataflowError, match=f"column 'a' is of type {values.dtype}"),
        Parts(str(tmp_path / "rows")) as parts,
    ):
        parts.add(pl.DataFrame({"a": values}))


def test_a_second_try_starts_from_nothing(tmp_path: Path) -> None:
    with Parts(str(tmp_path / "rows")) as parts:
        parts.add(frame(1, 2))
    (tmp_path / "rows" / "part-000007.parquet").write_bytes(b"half writ")
    with Parts(str(tmp_path / "rows")) as parts:
        parts.add(frame(3))
    assert [part["a"].to_list() for part in read_parts(str(tmp_path / "rows"))] == [[3]]


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(DataflowError, match="is gone") as raised:
        list(read_parts(str(tmp_path / "never")))
    assert raised.value.hint == "run the workflow from the start"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataflowError, match=r"staging .*file") as raised:
        Parts(str(tmp_path / "file" / "rows"))
    assert "DATAFLOW_STAGING" in str(raised.value.hint)


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


def test_a_column_that_only_some_parts_have_is_null_in_the_others(tmp_path: Path) -> None:
    with Parts(str(tmp_path / "rows")) as parts:
        parts.add(pl.DataFrame({"a": [1], "b": [None]}))
        parts.add(pl.DataFrame({"c": ["x"], "b": ["y"]}))
    assert pl.concat(read_parts(str(tmp_path / "rows")), how="diagonal_relaxed").to_dicts() == [
        {"a": 1, "b": None, "c": None},
        {"a": None, "b": "y", "c": "x"},
    ]
    assert [sorted(part.columns) for part in read_parts(str(tmp_path / "rows"))] == [
        ["a", "b", "c"]
    ] * 2
