from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.casting import DTYPES
from dataflow_runtime.pipeline.checks import REJECTED_SCHEMA, check_rows
from dataflow_runtime.pipeline.sources import read_source

COLUMNS = {"id": "integer", **{f"a_{kind}": kind for kind in DTYPES}}


@pytest.fixture
def generate(configure: Any) -> Any:
    def frames(
        columns: dict[str, str] = COLUMNS, batch_size: int = 50_000, **mock: Any
    ) -> list[pl.DataFrame]:
        processing = {"columns": columns, "primary_key": ["id"], "batch_size": batch_size}
        return list(read_source(configure({"type": "mock", "mock": mock}, processing=processing)))

    return frames


def process(frame: pl.DataFrame) -> Any:
    rejected: list[pl.DataFrame] = []
    accepted = check_rows(
        frame.lazy(),
        columns=COLUMNS,
        transform=lambda rows: rows,
        checks={},
        primary_key=["id"],
        on_rejected=rejected.append,
    ).collect()
    return SimpleNamespace(
        accepted=accepted, rejected=pl.concat([pl.DataFrame(schema=REJECTED_SCHEMA), *rejected])
    )


def test_the_same_seed_gives_the_same_rows(generate: Any) -> None:
    first, again, other = (pl.concat(generate(rows=50, seed=seed)) for seed in (7, 7, 8))
    assert first.equals(again)
    assert not first.equals(other)


def test_the_size_of_a_batch_changes_no_row(generate: Any) -> None:
    cut = generate(rows=50, batch_size=7, bad_ratio=0.1)
    assert [frame.height for frame in cut] == [7] * 7 + [1]
    assert pl.concat(cut).equals(pl.concat(generate(rows=50, bad_ratio=0.1)))


def test_good_rows_are_of_their_types_with_a_key_that_counts(generate: Any) -> None:
    outcome = process(pl.concat(generate(rows=200)))
    assert outcome.rejected.is_empty()
    assert outcome.accepted["id"].to_list() == list(range(200))


@pytest.mark.parametrize(
    ("rows", "ratio", "bad"), [(1000, 0.01, 10), (1000, 0.0, 0), (30, 1.0, 30), (10, 0.25, 2)]
)
def test_the_share_of_bad_rows_is_met(generate: Any, rows: int, ratio: float, bad: int) -> None:
    outcome = process(pl.concat(generate(rows=rows, bad_ratio=ratio)))
    assert (outcome.accepted.height, outcome.rejected.height) == (rows - bad, bad)


def test_no_rows(generate: Any) -> None:
    assert generate(rows=0) == []


def test_columns_that_cannot_be_generated_are_an_error(configure: Any, generate: Any) -> None:
    with pytest.raises(DataflowError, match=r"processing\.columns, which declares none"):
        list(read_source(configure()))
    with pytest.raises(DataflowError, match="bad_ratio: every column is text"):
        generate({"name": "string"}, rows=2, bad_ratio=1.0)
