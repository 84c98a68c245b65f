"""The report for each kind of mistake: files in ``faulty/``, each with its whole report.

``UPDATE_GOLDEN=1 pytest tests/unit/config/test_faulty_files.py`` rewrites the reports.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflow_runtime.config import config_manager
from dataflow_runtime.config.problems import render_problem

FAULTY = Path(__file__).with_name("faulty")


@pytest.mark.parametrize("file", sorted(FAULTY.glob("*.yaml")), ids=lambda file: file.stem)
def test_report(
    file: Path, installed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "TOKEN": "planted-secret",
        "DB": "sqlite://",
        "WORDS": "many",
        "DB_PASSWORD": "planted",
    }.items():
        monkeypatch.setenv(name, value)
    config = installed("faulty", file.read_bytes())
    monkeypatch.chdir(config.parent)

    checked = config_manager.check("faulty")
    report = "\n".join(render_problem(problem) for problem in checked.problems) + "\n"

    golden = file.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(report, encoding="utf-8")
    assert not checked.valid
    assert "planted" not in report
    assert report == golden.read_text(encoding="utf-8")


def test_every_report_belongs_to_a_file() -> None:
    assert {file.stem for file in FAULTY.glob("*.txt")} == {
        file.stem for file in FAULTY.glob("*.yaml")
    }
    assert len(list(FAULTY.glob("*.yaml"))) >= 25
