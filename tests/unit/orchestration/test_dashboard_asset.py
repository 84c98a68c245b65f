"""The site as a Dagster asset: what it depends on, and where it exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dataflow_runtime.dashboards import build
from dataflow_runtime.dashboards.build import BuildReport
from dataflow_runtime.dashboards.model import Dashboard, DashboardProblem
from dataflow_runtime.orchestration import dashboard_asset
from dataflow_runtime.workflows.discovery import find_workflow


def test_the_site_depends_on_the_dashboards_of_the_workflows(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAFLOW_DASHBOARDS_SCHEDULE", "0 6 * * *")
    (site.install("good") / "evidence").mkdir()
    site.install("orders")
    repository = dashboard_asset.build_repository()
    node = repository.asset_graph.get(dg.AssetKey("dashboards"))
    assert node.parent_keys == {dg.AssetKey(["good", "dashboard"])}
    assert repository.get_job("dashboards_job").name == "dashboards_job"
    assert repository.get_schedule_def("dashboards_schedule").cron_schedule == "0 6 * * *"


def test_the_site_is_not_scheduled_unless_asked(site: Any) -> None:
    assert dashboard_asset.build_repository().schedule_defs == []


def test_the_site_needs_node_and_all_workflows(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dashboard_asset.is_available(["good"])
    assert not dashboard_asset.is_available(["good", "dashboards"]), "a workflow keeps its name"
    monkeypatch.setenv("DATAFLOW_WORKFLOWS", "good")
    assert not dashboard_asset.is_available(["good"])
    monkeypatch.delenv("DATAFLOW_WORKFLOWS")
    monkeypatch.setattr(dashboard_asset, "node_is_there", lambda: False)
    assert not dashboard_asset.is_available(["good"])


def test_the_site_materializes_the_dashboards_that_are_whole(
    site: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATAFLOW_DASHBOARDS_URL", "https://example.org/reports/")
    installed = {}
    for name in ("good", "orders"):
        (site.install(name) / "evidence").mkdir()
        installed[name] = Dashboard(find_workflow(name))
    report = BuildReport(tmp_path, list(installed.values()))
    monkeypatch.setattr(build, "build_site", lambda **_: report)
    asset = dashboard_asset.build_repository().assets_defs_by_key[dg.AssetKey("dashboards")]

    result = dg.materialize([asset])
    found = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    assert set(found) == {"dashboards", "good/dashboard", "orders/dashboard"}
    assert found["good/dashboard"]["url"].value == "https://example.org/reports/good/"

    installed["good"] = installed["good"].broken(DashboardProblem("wrong column"))
    report = BuildReport(tmp_path, list(installed.values()))
    result = dg.materialize([asset], raise_on_error=False)
    assert not result.success
    (event,) = result.get_asset_materialization_events()
    assert event.asset_key == dg.AssetKey(["orders", "dashboard"])
    failure = result.failure_data_for_node("dashboards")
    assert failure is not None
    assert "good: wrong column" in str(failure.user_failure_data)
