"""The site as a Dagster asset: what it depends on, and where it exists."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from dataflow_runtime.orchestration import dashboard_asset


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
