"""The site of all dashboards as a Dagster asset, downstream of the workflows' dashboards."""

# No `from __future__ import annotations` here: Dagster reads the types of `context` parameters.

from collections.abc import Collection, Iterator
from typing import Any

import dagster as dg

from dataflow_runtime.dashboards.node import node_is_there
from dataflow_runtime.settings import get_settings
from dataflow_runtime.workflows.discovery import find_workflows

__all__ = ["NAME", "build_repository", "is_available"]

NAME = "dashboards"
"""Name of the repository and its asset; plus ``_job`` and ``_schedule``, of job and schedule."""


def is_available(workflows: Collection[str]) -> bool:
    """Return whether this machine can build the site and this location has all workflows."""
    return not get_settings().workflows and NAME not in workflows and node_is_there()


def build_repository() -> dg.RepositoryDefinition:
    """Return the repository of the site: its asset, its job, and its schedule if there is one."""
    site = _site_asset()
    job = dg.define_asset_job(f"{NAME}_job", selection=dg.AssetSelection.assets(NAME))
    cron = get_settings().dashboards_schedule
    schedule = dg.ScheduleDefinition(f"{NAME}_schedule", job=job, cron_schedule=cron or "@daily")
    return dg.create_repository_using_definitions_args(
        NAME, assets=[site], jobs=[job], schedules=[schedule] if cron else []
    )


def _site_asset() -> dg.AssetsDefinition:
    # By their files: loading every workflow would take longer than the build.
    folders = {workflow.name: workflow.directory for workflow in find_workflows()}
    shown = [name for name, folder in folders.items() if folder and (folder / "evidence").is_dir()]
    keys = {name: dg.AssetKey([name, "dashboard"]) for name in shown}

    @dg.asset(
        key=NAME,
        group_name=NAME,
        deps=list(keys.values()),
        kinds={"evidence"},
        description="The Evidence site of all installed workflows, for any static host.",
    )
    def site(context: dg.AssetExecutionContext) -> Iterator[Any]:
        from dataflow_runtime.dashboards.build import build_site

        report = build_site(on_progress=context.log.info)
        address = (get_settings().dashboards_url or "").rstrip("/")
        output = dg.MetadataValue.path(str(report.output))
        problems = []
        for dashboard in report.dashboards:
            problems += [f"{dashboard.name}: {problem}" for problem in dashboard.problems]
            if dashboard.name in keys and not dashboard.problems:
                url = dg.MetadataValue.url(f"{address}/{dashboard.name}/") if address else None
                page = {"site": output} | ({"url": url} if url else {})
                yield dg.AssetMaterialization(keys[dashboard.name], metadata=page)
        if report.failed:
            listed = "\n".join(f"- {problem}" for problem in problems)
            metadata = {"site": output, "problems": dg.MetadataValue.md(listed)}
            raise dg.Failure("; ".join(problems), metadata, allow_retries=False)
        yield dg.MaterializeResult(metadata={"site": output, "workflows": len(report.dashboards)})

    return site
