from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime.pipeline import dbt


def test_artifacts_of_the_newest_runs_are_kept(
    configure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure()
    runs = dbt.artifacts_dir(config, "any").parent
    for number in range(25):
        (runs / f"run-{number}").mkdir(parents=True)
        os.utime(runs / f"run-{number}", (number, number))
    target = runs.parent / "target"
    target.mkdir()
    (target / "run_results.json").write_text("of an earlier run")
    (target / "manifest.json").write_text("parsed")

    def parse_error(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(dbt, "_invoke", parse_error)
    with pytest.raises(RuntimeError):
        dbt.build(config, run_id="newest")
    assert {run.name for run in runs.iterdir()} == {
        "newest",
        *(f"run-{number}" for number in range(6, 25)),
    }
    assert [(file.name, file.read_text()) for file in (runs / "newest").iterdir()] == [
        ("manifest.json", "parsed")
    ]
