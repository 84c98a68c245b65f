"""Local files are read where they are, by transform, in one pass."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.sources import scan_source
from dataflow_runtime.pipeline.steps import Pipeline

pytestmark = pytest.mark.e2e


def as_it_is(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows


def frames(rows: pl.DataFrame) -> pl.DataFrame:
    return rows


class InPlace:
    """Runs the workflow `things` on a file."""

    def __init__(self, warehouse: Any, folder: Path) -> None:
        self._warehouse, self.folder, self._runs = warehouse, folder, iter(range(100))

    def extract(self, path: str, transform: Any = as_it_is, **settings: Any) -> Any:
        overrides = {"source.type": "file", "source.file.path": str(self.folder / path)}
        overrides |= {**self._warehouse.settings, **settings}
        pipeline = Pipeline("things", scan_source, transform, {"good": pl.col("v") != "bad"})
        run_id = f"in-place-{next(self._runs)}"
        return pipeline, pipeline.run_extract(run_id, env=None, overrides=overrides)

    def load(self, path: str, transform: Any = as_it_is, **settings: Any) -> Any:
        pipeline, run = self.extract(path, transform, **settings)
        return pipeline.run_load(pipeline.run_transform(run), last=True)


@pytest.fixture
def in_place(warehouse: Any, stage: Any, tmp_path: Path) -> InPlace:
    stage([])  # installs the workflow
    (tmp_path / "files").mkdir()
    return InPlace(warehouse, tmp_path / "files")


def loaded(warehouse: Any) -> list[Any]:
    return warehouse.query("select id, v from things_raw.things order by 1")


@pytest.mark.parametrize("transform", [as_it_is, frames])
def test_nothing_of_a_file_is_copied_before_transform(
    in_place: InPlace, warehouse: Any, site: Any, transform: Any
) -> None:
    (in_place.folder / "a.csv").write_text("id,v\n1,x\n2,bad\n3,y\n")
    pipeline, run = in_place.extract("a.csv", transform)
    assert [file.path for file in run.files] == [str(in_place.folder / "a.csv")]
    assert not list((site.home / "staging" / "things" / run.run_id).glob("**/*"))
    run = pipeline.run_load(pipeline.run_transform(run), last=True)
    assert (run.extracted, run.loaded, run.rejected_by) == (3, 2, {"good": 1})
    assert loaded(warehouse) == [("1", "x"), ("3", "y")]


def test_files_of_different_columns_are_one_table(in_place: InPlace, warehouse: Any) -> None:
    (in_place.folder / "a.csv").write_text("id,v\n1,x\n")
    (in_place.folder / "b.csv.gz").write_bytes(gzip.compress(b"v,w,id\ny,z,2\n"))
    pl.DataFrame({"id": [3], "w": ["q"]}).write_parquet(in_place.folder / "c.parquet")
    in_place.load("*")
    found = warehouse.query("select id, v, w from things_raw.things order by id")
    assert found == [("1", "x", None), ("2", "y", "z"), ("3", None, "q")]


def test_a_window_is_read_of_a_file(in_place: InPlace, warehouse: Any) -> None:
    settings = {
        "processing.columns": {"id": "integer", "v": "string"},
        "processing.primary_key": "id",
        "processing.cursor": {"column": "id"},
    }
    (in_place.folder / "a.csv").write_text("id,v\n1,x\n2,y\n")
    in_place.load("a.csv", **settings)
    (in_place.folder / "a.csv").write_text("id,v\n1,changed\n2,changed\n3,z\n")
    in_place.load("a.csv", **settings)
    assert loaded(warehouse) == [(1, "x"), (2, "changed"), (3, "z")]


def test_rows_are_staged_where_machines_share_staging(
    in_place: InPlace, warehouse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAFLOW_STAGING", "memory://shared")
    (in_place.folder / "a.csv").write_text("id,v\n1,x\n")
    pipeline, run = in_place.extract("a.csv")
    assert (run.files, run.extracted) == ((), 1)
    (in_place.folder / "a.csv").unlink()
    pipeline.run_load(pipeline.run_transform(run), last=True)
    assert loaded(warehouse) == [("1", "x")]


@pytest.mark.parametrize("transform", [as_it_is, frames])
def test_a_malformed_line_is_named_in_transform(in_place: InPlace, transform: Any) -> None:
    lines = [f"{number},x" for number in range(3000)]
    (in_place.folder / "a.csv").write_text("\n".join(["id,v", *lines, "1,2,3"]) + "\n")
    with pytest.raises(DataflowError, match=r"a\.csv: .*line 3002 has 3 values for 2 columns"):
        in_place.load("a.csv", transform)


def test_a_mistake_in_transform_is_one_line(in_place: InPlace) -> None:
    def mistaken(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.with_columns(n=pl.col("id").cast(pl.Int64))

    (in_place.folder / "a.csv").write_text("id,v\n1,x\nnot a number,y\n")
    with pytest.raises(DataflowError, match=r"^transform: ") as raised:
        in_place.load("a.csv", mistaken)
    assert "\n" not in raised.value.message
    assert "CHECKS" in str(raised.value.hint)


def test_a_file_that_changes_during_the_run_fails_it(in_place: InPlace) -> None:
    file = in_place.folder / "a.csv"
    file.write_text("id,v\n1,x\n")
    pipeline, run = in_place.extract("a.csv")
    file.write_text("id,v\n1,x\n2,y\n")
    with pytest.raises(DataflowError, match=r"a\.csv has changed since the run began"):
        pipeline.run_transform(run)
    file.unlink()
    with pytest.raises(DataflowError, match=r"a\.csv cannot be read any more"):
        pipeline.run_transform(run)
