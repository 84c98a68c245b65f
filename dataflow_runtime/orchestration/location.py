"""The repositories in the modules `dagster_repo` and `code_location`, built when asked for.

Dagster lists a module with ``dir()`` and asks for each name as an attribute. To execute a run or a
step it asks for one name only.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import dagster as dg

from dataflow_runtime.errors import UnknownWorkflowError
from dataflow_runtime.orchestration import dashboard_asset
from dataflow_runtime.orchestration._dagster import dagster_name, defines_location
from dataflow_runtime.orchestration.check import check_again
from dataflow_runtime.orchestration.repositories import build_repositories
from dataflow_runtime.orchestration.workers import end_killed_runs
from dataflow_runtime.settings import get_settings
from dataflow_runtime.workflows.discovery import find_workflows
from dataflow_runtime.workflows.loading import BrokenWorkflow

__all__ = ["repository", "repository_names"]

_EMPTY = "no_workflows"  # Dagster refuses a location without a repository
_logger = logging.getLogger("dataflow_runtime")
_built: dict[str, dg.RepositoryDefinition] = {}


def repository_names() -> list[str]:
    """Return the names of the location's repositories."""
    names = _workflow_names()
    found = sorted(map(dagster_name, names))
    if dashboard_asset.is_available(names):
        found.append(dashboard_asset.NAME)
    return found or [_EMPTY]


def repository(name: str, *, alone: bool = False) -> dg.RepositoryDefinition:
    """Return the repository of this name.

    A process that loads the location builds all of them at once, to see asset keys that clash.

    Args:
        name: Name of a workflow, with characters that Dagster does not allow replaced.
        alone: Whether the location has no other repository.

    Raises:
        AttributeError: No installed package advertises the workflow.
    """
    if name.startswith("__"):
        raise AttributeError(name)
    if name not in _built:
        _build(name, alone=alone)
    return _built[name]


def _build(name: str, *, alone: bool) -> None:
    if name == _EMPTY:
        _built[name] = dg.create_repository_using_definitions_args(name)
        return
    names = {dagster_name(workflow.name): workflow.name for workflow in find_workflows()}
    if name == dashboard_asset.NAME and name not in names:
        _built[name] = dashboard_asset.build_repository()
        return
    if name not in names:
        raise AttributeError(str(UnknownWorkflowError(name, names)))
    whole = defines_location() and not alone
    chosen = _workflow_names() if whole else [names[name]]
    known = check_again() if whole else []
    repositories, broken = build_repositories(chosen, known)
    for failure in broken:
        _logger.error("%s", failure)
    if defines_location() and Path(os.environ.get("DAGSTER_HOME", ""), "dagster.yaml").is_file():
        with dg.DagsterInstance.get() as instance:
            # A workflow's queue waits for a dead run until somebody ends it.
            end_killed_runs(instance)
            _report_failed_checks(instance, broken)
    _built.update(repositories)


def _workflow_names() -> list[str]:
    chosen = get_settings().workflows
    return list(chosen) if chosen else sorted({workflow.name for workflow in find_workflows()})


def _report_failed_checks(instance: dg.DagsterInstance, broken: list[BrokenWorkflow]) -> None:
    """Record the check of each broken workflow as failed, so that the UI shows it at once."""
    for failure in broken:
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey([failure.name, "broken"]),
            check_name="loads",
            passed=False,
            metadata={"reason": str(failure)},
        )
        instance.report_runless_asset_event(evaluation)
