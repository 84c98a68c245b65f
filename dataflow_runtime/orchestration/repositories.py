"""Builds one Dagster repository for each installed workflow; a broken one shows the reason."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import dagster as dg

from dataflow_runtime.config import WorkflowConfig, config_manager
from dataflow_runtime.errors import DataflowError, FailureKind
from dataflow_runtime.orchestration._dagster import AssetJob, dagster_name
from dataflow_runtime.orchestration.alerts import alert_sensors, with_freshness
from dataflow_runtime.orchestration.executors import build_executor, shared_resources
from dataflow_runtime.orchestration.labels import dashboard_of, labelled_asset, labelled_job
from dataflow_runtime.orchestration.projects import parse_projects
from dataflow_runtime.orchestration.run_config import find_node
from dataflow_runtime.orchestration.schedules import build_schedule, partitions_of
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflow, find_workflows
from dataflow_runtime.workflows.loading import BrokenWorkflow, LoadedWorkflow, load
from dataflow_runtime.workflows.registry import registrations

__all__ = [
    "BuiltWorkflow",
    "build_job",
    "build_repositories",
    "build_workflow",
    "key_clashes",
]


@dataclass(frozen=True)
class BuiltWorkflow:
    """A workflow whose definitions Dagster accepts.

    Attributes:
        loaded: The workflow.
        definitions: Arguments of `create_repository_using_definitions_args`.
        repository: The repository that they make.
    """

    loaded: LoadedWorkflow
    definitions: Mapping[str, Any]
    repository: dg.RepositoryDefinition

    @property
    def asset_keys(self) -> set[str]:
        """The keys of the assets that it can materialize."""
        return {key.to_user_string() for key in _asset_keys(self.definitions["assets"])}


def build_repositories(
    names: Collection[str] = (), known: Collection[BrokenWorkflow] = ()
) -> tuple[dict[str, dg.RepositoryDefinition], list[BrokenWorkflow]]:
    """Return the repositories of all installed workflows, or of the named ones, and what is broken.

    A workflow that is broken, or shares an asset key with another, has an asset
    ``<workflow>/broken`` with the reason.

    Args:
        names: The workflows; empty for all.
        known: Workflows that must not be imported into this process, and why.

    Raises:
        UnknownWorkflowError: No installed package advertises one of the names.
    """
    installed = find_workflows()
    for name in names:
        find_workflow(name)
    if names:
        installed = [workflow for workflow in installed if workflow.name in names]
    deadly = [failure.installed for failure in known]
    harmless = [workflow for workflow in installed if workflow not in deadly]
    parse_projects(harmless)
    outcomes = [build_workflow(workflow) for workflow in harmless]
    built = [outcome for outcome in outcomes if isinstance(outcome, BuiltWorkflow)]
    broken = [outcome for outcome in outcomes if isinstance(outcome, BrokenWorkflow)]
    broken += [failure for failure in known if failure.installed in installed]
    broken += key_clashes((workflow.loaded.installed, workflow.asset_keys) for workflow in built)
    failures: dict[str, list[BrokenWorkflow]] = {}
    for failure in broken:
        failures.setdefault(failure.name, []).append(failure)
    repositories = {workflow.loaded.name: workflow.repository for workflow in built}
    definitions = {workflow.loaded.name: workflow.definitions for workflow in built}
    for name, reasons in failures.items():
        repositories[name] = _broken_repository(name, reasons, definitions.get(name, {}))
    return {dagster_name(name): found for name, found in repositories.items()}, broken


def build_job(name: str) -> dg.JobDefinition:
    """Return the job of one workflow without loading another: what executes a run is built from it.

    Raises:
        DataflowError: The workflow is unknown or broken.
    """
    outcome = build_workflow(find_workflow(name))
    if isinstance(outcome, BrokenWorkflow):
        raise outcome.error()
    return outcome.repository.get_job(outcome.loaded.registration.job.name)


def build_workflow(installed: InstalledWorkflow) -> BuiltWorkflow | BrokenWorkflow:
    """Import a workflow and build its repository. If either fails, return a `BrokenWorkflow`."""
    names, filters = dict(vars(dg)), list(warnings.filters)
    loaded = load(installed)
    # One workflow's `simplefilter("error")` would turn the warnings of all others into errors.
    for added in [found for found in warnings.filters if found not in filters]:
        if added[0] == "error":
            cast("list[Any]", warnings.filters).remove(added)
    replaced = [name for name, value in names.items() if vars(dg).get(name) is not value]
    vars(dg).update(names)
    if isinstance(loaded, BrokenWorkflow):
        return loaded
    if replaced:
        reason = f"its import replaces dagster.{', dagster.'.join(replaced)} for all workflows"
        place = loaded.registration
        return BrokenWorkflow(installed, FailureKind.IMPORT, reason, place.file, place.line)
    try:
        definitions = _definitions(loaded)
        repository = _repository(installed.name, definitions)
        repository.load_all_definitions()
    except Exception as error:
        kind, reason, hint = FailureKind.DEFINITIONS, str(error), None
        if isinstance(error, DataflowError):
            reason, hint = error.message, error.hint
            if error.failure_kind is FailureKind.CONFIG:
                kind = FailureKind.CONFIG
        place = loaded.registration
        return BrokenWorkflow(installed, kind, reason, place.file, place.line, hint)
    return BuiltWorkflow(loaded, definitions, repository)


def key_clashes(
    claims: Iterable[tuple[InstalledWorkflow, Collection[str]]],
) -> list[BrokenWorkflow]:
    """Return a failure for each workflow that has an asset key of another one.

    Workflows of one module share its assets.
    """
    owners: dict[str, list[InstalledWorkflow]] = {}
    for installed, keys in claims:
        for key in keys:
            owners.setdefault(key, []).append(installed)
    failures = []
    for key, claimants in sorted(owners.items()):
        for installed in claimants:
            others = [other.place for other in claimants if other.module != installed.module]
            if others:
                reason = f"asset {key!r} is also defined by {', '.join(others)}"
                hint = "prefix the keys of each workflow with its name"
                file = str(installed.file)
                kind = FailureKind.ASSET_KEY
                failures.append(BrokenWorkflow(installed, kind, reason, file, installed.line, hint))
    return failures


def _repository(name: str, definitions: Mapping[str, Any]) -> dg.RepositoryDefinition:
    # Dagster decides that two jobs are one by identity, so each repository gets the same objects.
    return dg.create_repository_using_definitions_args(
        dagster_name(name),
        executor=build_executor(name),
        resources=shared_resources(),
        **definitions,
    )


def _definitions(workflow: LoadedWorkflow) -> dict[str, Any]:
    """Return the workflow's job, its schedule, and the other definitions of its module.

    Raises:
        DataflowError: Its config is invalid, or what it registered is not a job.
    """
    config = config_manager.load_config(workflow.name)
    registered = workflow.registration.job
    job = labelled_job(_as_job(workflow), workflow, partitions_of(config))
    cron = config.schedule.cron or workflow.registration.metadata.schedule
    schedules = [build_schedule(workflow.name, job, config, cron)] if cron else []
    sensors = []
    # Dagster refuses two jobs of one name, so schedules and sensors get the labelled job.
    for schedule in _members(workflow, dg.ScheduleDefinition):
        if schedule.has_job and schedule.job is registered:
            schedules.append(schedule.with_updated_job(job))
        elif _is_first(workflow) and not (schedule.has_job and _is_registered(schedule.job)):
            schedules.append(schedule)
    for sensor in _members(workflow, dg.SensorDefinition):
        targets = sensor.jobs if sensor.has_jobs else []
        if any(target is registered for target in targets):
            targets = [job if target is registered else target for target in targets]
            sensors.append(sensor.with_updated_jobs(targets))
        elif _is_first(workflow) and not any(map(_is_registered, targets)):
            sensors.append(sensor)
    # An asset job cannot do without its assets, even if it shares its module.
    modules = [workflow.module] if _is_first(workflow) or isinstance(job, AssetJob) else []
    assets = [_labelled(asset, workflow, config) for asset in dg.load_assets_from_modules(modules)]
    tables = _loaded_tables(job, config)
    dashboard = dashboard_of(workflow, _asset_keys(assets), [table.key for table in tables[:1]])
    external = [labelled_asset(with_freshness(table, config), workflow) for table in tables]
    if dashboard:
        external.append(labelled_asset(dashboard, workflow))
    sensors += alert_sensors(config, job, [*_asset_keys(assets), *(table.key for table in tables)])
    return {
        "jobs": [job],
        "schedules": schedules,
        "sensors": sensors,
        "assets": [*assets, *external],
        "asset_checks": dg.load_asset_checks_from_modules(modules),
    }


def _is_first(workflow: LoadedWorkflow) -> bool:
    """Return whether the definitions that its module has beside jobs belong to this workflow.

    They belong to the first of the workflows that the module registers.
    """
    module = workflow.registration.module
    siblings = [other.name for other in registrations().values() if other.module == module]
    return workflow.name == min(siblings)


def _is_registered(job: Any) -> bool:
    return any(registration.job is job for registration in registrations().values())


def _loaded_tables(job: Any, config: WorkflowConfig) -> list[dg.AssetSpec]:
    """Return the tables that a job of ops loads, for the lineage; an asset job has its own."""
    if not isinstance(job, dg.JobDefinition):
        return []
    if find_node(job.graph, f"{config.workflow}_extract") is None:
        return []
    from dataflow_runtime.orchestration.ops import table_assets  # a hand-written job needs none

    return table_assets(config)


def _asset_keys(assets: Iterable[Any]) -> list[dg.AssetKey]:
    executable = [asset for asset in assets if isinstance(asset, dg.AssetsDefinition)]
    return [key for asset in executable for key in asset.keys]


def _as_job(workflow: LoadedWorkflow) -> Any:
    job = workflow.registration.job
    if isinstance(job, dg.GraphDefinition):
        return job.to_job()
    if not isinstance(job, dg.JobDefinition | AssetJob):
        found = f"{workflow.registration.place}: registered {type(job).__name__}"
        raise DataflowError(
            f"{found}, expected a Dagster job or graph", hint="put @register_workflow above @job"
        )
    return job


def _labelled(asset: Any, workflow: LoadedWorkflow, config: WorkflowConfig) -> Any:
    if not isinstance(asset, dg.AssetsDefinition):
        return asset
    return asset.map_asset_specs(
        lambda spec: labelled_asset(with_freshness(spec, config), workflow)
    )


def _members(workflow: LoadedWorkflow, type_: type) -> Iterable[Any]:
    """Return the objects of a type in the workflow's module, each once."""
    found = (value for value in vars(workflow.module).values() if isinstance(value, type_))
    return {id(value): value for value in found}.values()


def _broken_repository(
    name: str, failures: list[BrokenWorkflow], definitions: Mapping[str, Any]
) -> dg.RepositoryDefinition:
    """Return a repository that shows why a workflow is broken, and the definitions it has."""
    key = dg.AssetKey([name, "broken"])
    reason = "\n\n".join(_explained(failure) for failure in failures)
    spec = dg.AssetSpec(key, group_name=dagster_name(name), description=reason)

    @dg.asset_check(asset=key, name="loads", description=reason)
    def loads() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description=reason)

    assets = [*definitions.get("assets", ()), spec]
    checks = [*definitions.get("asset_checks", ()), loads]
    return _repository(name, {**definitions, "assets": assets, "asset_checks": checks})


def _explained(failure: BrokenWorkflow) -> str:
    return f"{failure}\n\nhint: {failure.hint}" if failure.hint else str(failure)
