"""What ``dashboards build`` prints of its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow_runtime.cli import cli
from dataflow_runtime.dashboards import build
from dataflow_runtime.dashboards.build import BuildReport
from dataflow_runtime.dashboards.model import Dashboard, DashboardProblem
from dataflow_runtime.workflows.discovery import InstalledWorkflow


def test_a_build_prints_warnings_and_problems_and_fails_only_for_problems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path))
    sales = Dashboard(
        InstalledWorkflow("sales", "sales", "1.0", "sales", "sales"),
        warnings=["many.sql: 100,001 rows"],
        unread="a run was writing to the warehouse",
    )
    monkeypatch.setattr(build, "build_site", lambda *_, **__: BuildReport(tmp_path, [sales]))
    assert cli.main(["dashboards", "build"], standalone_mode=False) == 0
    printed = capsys.readouterr()
    assert "not read: a run was writing to the warehouse" in printed.out
    assert "warning: sales: many.sql: 100,001 rows" in printed.err

    broken = sales.broken(DashboardProblem("wrong column"))
    monkeypatch.setattr(build, "build_site", lambda *_, **__: BuildReport(tmp_path, [broken]))
    assert cli.main(["dashboards", "build"], standalone_mode=False) == 1
    assert "error: sales: wrong column" in capsys.readouterr().err
