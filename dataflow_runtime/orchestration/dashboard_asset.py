"""The site as a Dagster asset, downstream of the tables and models that it shows."""

# No `from __future__ import annotations` here: Dagster reads the types of its `context` parameters.

import logging
from collections.abc import Iterable

import dagster as dg

from dataflow_runtime.dashboards.node import node_is_there
from dataflow_runtime.settings import Settings

__all__ = ["NAME", "dashboards_definitions", "with_dashboards"]

_logger = logging.getLogger("dataflow_runtime")

NAME = "dashboards"
"""The name of the asset; with ``_job`` of the job that builds it, with ``_schedule`` of its schedule."""


def with_dashboards(definitions: dg.Definitions, settings: Settings) -> dg.Definitions:
    """Return the code location of all workflows with the site added, if this machine can build it."""
    # One of several code locations has not all workflows, and a site is of all.
    if settings.workflows or not node_is_there():
        return definitions
    assets = [
        assets for assets in definitions.assets or () if isinstance(assets, dg.AssetsDefinition)
    ]
    keys = {key for definition in assets for key in definition.keys}
    jobs = {job.name for job in definitions.jobs or ()}
    # The asset's op has its name, which no graph of another job may have.
    if {NAME, f"{NAME}_job"} & jobs or dg.AssetKey(NAME) in keys:
        _logger.warning(
            "a workflow has a job or an asset %r: the site of all dashboards is no asset here", NAME
        )
        return definitions
    return dg.Definitions.merge(
        definitions, dashboards_definitions(_last(assets), settings.dashboards_schedule)
    )


def dashboards_definitions(upstream: Iterable[dg.AssetKey], cron: str | None) -> dg.Definitions:
    """Return the asset, a job that materializes it, and a schedule where there is a cron expression."""

    @dg.asset(
        key=NAME,
        group_name=NAME,
        deps=list(upstream),
        description="The Evidence site of all installed workflows, as files that any static host serves.",
    )
    def site(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        from dataflow_runtime.dashboards.build import build_site

        report = build_site(on_progress=context.log.info)
        metadata: dict[str, dg.MetadataValue] = {
            "site": dg.MetadataValue.path(str(report.output)),
            "workflows": dg.MetadataValue.int(len(report.dashboards)),
        }
        if report.failed:
            problems = [
                f"{dashboard.name}: {problem}"
                for dashboard in report.dashboards
                for problem in dashboard.problems
            ]
            raise dg.Failure(
                "; ".join(problems),
                metadata
                | {
                    "problems": dg.MetadataValue.md(
                        "\n".join(f"- {problem}" for problem in problems)
                    )
                },
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata=metadata)

    job = dg.define_asset_job(f"{NAME}_job", selection=dg.AssetSelection.assets(NAME))
    schedules = (
        [dg.ScheduleDefinition(f"{NAME}_schedule", job=job, cron_schedule=cron)] if cron else []
    )
    return dg.Definitions(assets=[site], jobs=[job], schedules=schedules)


def _last(assets: Iterable[dg.AssetsDefinition]) -> list[dg.AssetKey]:
    """Return the assets that no other one is made of: the marts, and the tables that nothing is built on."""
    assets = list(assets)
    used = {key for definition in assets for keys in definition.asset_deps.values() for key in keys}
    return sorted({key for definition in assets for key in definition.keys} - used)
