"""The site in Dagster: where it is an asset, and where it is not."""

from __future__ import annotations

import dagster as dg
import pytest

from dataflow_runtime.dashboards import assets as module
from dataflow_runtime.orchestration.dashboard_asset import with_dashboards
from dataflow_runtime.settings import Settings


def jobs(definitions: dg.Definitions) -> set[str]:
    return {job.name for job in definitions.jobs or ()}


def test_it_is_downstream_of_what_nothing_else_is_made_of() -> None:
    @dg.asset
    def raw() -> None: ...

    @dg.asset(deps=[raw])
    def mart() -> None: ...

    definitions = with_dashboards(
        dg.Definitions(assets=[raw, mart]), Settings(dashboards_schedule="0 6 * * *")
    )
    node = definitions.resolve_asset_graph().get(dg.AssetKey("dashboards"))
    assert node.parent_keys == {dg.AssetKey("mart")}
    assert jobs(definitions) == {"dashboards_job"}
    dg.Definitions.validate_loadable(definitions)
    assert definitions.resolve_schedule_def("dashboards_schedule").cron_schedule == "0 6 * * *"


def test_there_is_none_without_node_or_in_one_of_several_code_locations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert jobs(with_dashboards(dg.Definitions(), Settings())) == {"dashboards_job"}
    assert jobs(with_dashboards(dg.Definitions(), Settings(workflows=("sales",)))) == set()
    monkeypatch.setattr(module, "node_is_there", lambda: False)
    assert jobs(with_dashboards(dg.Definitions(), Settings())) == set()


def test_a_workflow_that_has_the_name_keeps_it(caplog: pytest.LogCaptureFixture) -> None:
    @dg.job(name="dashboards")
    def own() -> None: ...

    definitions = dg.Definitions(jobs=[own])
    assert with_dashboards(definitions, Settings()) is definitions
    assert "a workflow has a job or an asset 'dashboards'" in caplog.text
