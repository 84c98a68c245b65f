"""Builds one Dagster `Definitions` of installed workflows."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import dagster as dg
from dagster._core.definitions.node_definition import NodeDefinition
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from dataflow_runtime.config import ConfigError, config_manager
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.orchestration.described import dashboard, described, described_asset
from dataflow_runtime.orchestration.executors import build_executor, shared_resources
from dataflow_runtime.orchestration.partitions import build_schedule, partitions_of
from dataflow_runtime.workflows.loading import BrokenWorkflow, LoadedWorkflow, load_workflows

__all__ = ["build_definitions", "build_job", "load_definitions", "workflow_definitions"]

_logger = logging.getLogger("dataflow_runtime")


def build_definitions(names: Collection[str] = ()) -> dg.Definitions:
    """Return the jobs, schedules, assets, checks and sensors of all installed workflows, or of the named ones.

    A broken workflow is left out and logged; `load_definitions` returns it.
    """
    definitions, broken = load_definitions(names)
    for workflow in broken:
        _logger.error("%s", workflow)
    return definitions


def load_definitions(names: Collection[str] = ()) -> tuple[dg.Definitions, list[BrokenWorkflow]]:
    """Return the definitions of the workflows that load, and the workflows that do not."""
    loaded, broken = load_workflows(names)
    parts: list[tuple[LoadedWorkflow, dg.Definitions]] = []
    claimed: dict[str, LoadedWorkflow] = {}
    ops: dict[str, tuple[LoadedWorkflow, NodeDefinition]] = {}
    for workflow in loaded:
        try:
            definitions = workflow_definitions(workflow)
            _claim(workflow, definitions, claimed, ops)
            if any(other.module is workflow.module for other, _ in parts):
                # What stands in a module that registers several workflows is there already.
                definitions = workflow_definitions(workflow, with_module=False)
        except Exception as error:
            broken.append(_broken(workflow, error))
        else:
            parts.append((workflow, definitions))
    rest = dg.Definitions(executor=build_executor(), resources=shared_resources())
    merged = dg.Definitions.merge(*(definitions for _, definitions in parts), rest)
    try:
        # All at once: it takes as long as all that is above, and Dagster keeps the result.
        dg.Definitions.validate_loadable(merged)
    except Exception:
        unresolvable = [
            failure for workflow, _ in parts if (failure := _unresolvable(workflow)) is not None
        ]
        if not unresolvable:
            raise
        names = {failure.name for failure in unresolvable}
        broken += unresolvable
        merged = dg.Definitions.merge(
            *(part for workflow, part in parts if workflow.name not in names), rest
        )
    return merged, broken


def _unresolvable(workflow: LoadedWorkflow) -> BrokenWorkflow | None:
    """Return why a workflow's definitions do not resolve on their own: its own problem, not the whole location's."""
    try:
        dg.Definitions.validate_loadable(workflow_definitions(workflow))
    except Exception as error:
        return _broken(workflow, error)
    return None


def workflow_definitions(workflow: LoadedWorkflow, *, with_module: bool = True) -> dg.Definitions:
    """Return what one workflow brings: its job, a schedule where one is set, and what stands in its module.

    Args:
        workflow: The workflow.
        with_module: Whether to return what stands in its module.

    Raises:
        DataflowError: Its config is not valid, or what it registered is no job.
    """
    config = config_manager.load_config(workflow.name)
    job = described(_job(workflow), workflow, partitions_of(config))
    cron = config.schedule.cron or workflow.registration.metadata.schedule
    modules = [workflow.module] if with_module else []
    found = [value for module in modules for value in vars(module).values()]
    schedules = [] if cron is None else [build_schedule(workflow.name, job, config, cron)]
    registered = workflow.registration.job
    assets = [
        asset.map_asset_specs(lambda spec: described_asset(spec, workflow))
        if isinstance(asset, dg.AssetsDefinition)
        else asset
        for asset in dg.load_assets_from_modules(modules)
    ]
    tables = [
        key for asset in assets if isinstance(asset, dg.AssetsDefinition) for key in asset.keys
    ]
    shown = dashboard(workflow, tables)
    return dg.Definitions(
        jobs=[job],
        # What the module schedules is the job as described, too: of two jobs of one name Dagster takes neither.
        schedules=[
            *schedules,
            *(
                schedule.with_updated_job(job)
                if schedule.has_job and schedule.job is registered
                else schedule
                for schedule in _of_type(found, dg.ScheduleDefinition)
            ),
        ],
        sensors=[
            sensor.with_updated_jobs(
                [job if target is registered else target for target in sensor.jobs]
            )
            if sensor.has_jobs
            else sensor
            for sensor in _of_type(found, dg.SensorDefinition)
        ],
        assets=[*assets, *([shown] if shown else [])],
        asset_checks=dg.load_asset_checks_from_modules(modules),
    )


def build_job(name: str) -> dg.JobDefinition:
    """Return the job of one workflow, loading only this one: what a run in a process of its own is built from.

    Raises:
        DataflowError: The workflow is unknown or broken.
    """
    definitions, broken = load_definitions([name])
    if broken:
        raise DataflowError(str(broken[0]), hint=broken[0].hint)
    registered = load_workflows([name])[0][0].registration.job
    return definitions.resolve_job_def(registered.name)


def _job(workflow: LoadedWorkflow) -> Any:
    job = workflow.registration.job
    if isinstance(job, dg.GraphDefinition):
        return job.to_job()
    if not isinstance(job, dg.JobDefinition | UnresolvedAssetJobDefinition):
        raise DataflowError(
            f"{workflow.registration.place}: registered {type(job).__name__}, expected a Dagster job or graph",
            hint="put @register_workflow above @job",
        )
    return job


def _of_type(found: Iterable[object], type_: type) -> list[Any]:
    return list({id(value): value for value in found if isinstance(value, type_)}.values())


def _claim(
    workflow: LoadedWorkflow,
    definitions: dg.Definitions,
    claimed: dict[str, LoadedWorkflow],
    ops: dict[str, tuple[LoadedWorkflow, NodeDefinition]],
) -> None:
    """Note the names that a workflow brings to the code location, in which each must be unique."""
    names = [f"job {job.name!r}" for job in definitions.jobs or ()]
    names += [f"schedule {schedule.name!r}" for schedule in definitions.schedules or ()]
    names += [f"sensor {sensor.name!r}" for sensor in definitions.sensors or ()]
    names += [
        f"asset {key.to_user_string()!r}"
        for assets in definitions.assets or ()
        if isinstance(assets, dg.AssetsDefinition)
        for key in assets.keys
    ]
    for name in names:
        other = claimed.get(name)
        if other is not None and other.module is not workflow.module:
            raise DataflowError(
                f"{name} is also defined by {other.installed.place}", hint="rename one of them"
            )
    claimed.update(dict.fromkeys(names, workflow))
    for node in _nodes(definitions):
        other, claimed_node = ops.setdefault(node.name, (workflow, node))
        if claimed_node is not node and other.module is not workflow.module:
            raise DataflowError(
                f"op {node.name!r} is also defined by {other.installed.place}, as another one",
                hint="rename one of them, or give each workflow a code location: dataflow-runtime workspace",
            )


def _nodes(definitions: dg.Definitions) -> Iterator[NodeDefinition]:
    """Yield the ops and graphs: within a code location, Dagster allows no two of one name."""
    for job in definitions.jobs or ():
        if isinstance(job, dg.JobDefinition):
            yield from job.all_node_defs
    for assets in definitions.assets or ():
        if isinstance(assets, dg.AssetsDefinition) and assets.is_executable:
            yield assets.node_def
            if isinstance(assets.node_def, dg.GraphDefinition):
                yield from assets.node_def.iterate_node_defs()


def _broken(workflow: LoadedWorkflow, error: Exception) -> BrokenWorkflow:
    return BrokenWorkflow(
        installed=workflow.installed,
        kind="config" if isinstance(error, ConfigError) else "definitions",
        reason=error.message if isinstance(error, DataflowError) else str(error),
        file=workflow.registration.file,
        line=workflow.registration.line,
        hint=error.hint if isinstance(error, DataflowError) else None,
    )
