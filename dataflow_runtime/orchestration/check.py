"""Checks installed workflows for all that would stop a run: import, registration, definitions, config, dbt project."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from dataflow_runtime.config import ConfigError, config_manager
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.orchestration.repositories import build_repositories
from dataflow_runtime.pipeline.dbt import manifest_path, project_dir
from dataflow_runtime.settings import get_settings
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflow, find_workflows

__all__ = ["CheckResult", "Problem", "check_workflows"]


@dataclass(frozen=True)
class Problem:
    """One reason why a workflow would not run."""

    kind: str
    message: str
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class CheckResult:
    """What a check found of one workflow."""

    name: str
    package: str
    version: str
    problems: list[Problem]

    @property
    def status(self) -> str:
        """``ok`` or ``broken``."""
        return "broken" if self.problems else "ok"

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON shape, with package and version beside it."""
        return {
            "name": self.name,
            "status": self.status,
            "package": self.package,
            "version": self.version,
            "problems": [asdict(problem) for problem in self.problems],
        }


def check_workflows(names: Collection[str] = ()) -> list[CheckResult]:
    """Check the named workflows, or all installed ones, and return a result for each, sorted by name.

    Raises:
        UnknownWorkflowError: No installed package advertises one of the names.
    """
    installed = (
        [find_workflow(name) for name in dict.fromkeys(names)] if names else find_workflows()
    )
    get_settings().make_home()
    _, broken = build_repositories(list(dict.fromkeys(names)))
    results = []
    for workflow in installed:
        problems = _config_problems(workflow)
        problems += [
            Problem(kind=failure.kind, message=failure.reason, file=failure.file, line=failure.line)
            for failure in broken
            # A config that is not valid breaks the import too; once is enough.
            if failure.installed == workflow and not (failure.kind == "config" and problems)
        ]
        if not problems:
            problems = _dbt_problems(workflow)
        results.append(CheckResult(workflow.name, workflow.package, workflow.version, problems))
    return results


def _config_problems(workflow: InstalledWorkflow) -> list[Problem]:
    if workflow.config_file is None:
        return []
    try:
        config_manager.load_config(workflow.name)
    except ConfigError as error:
        return [
            Problem(
                kind="config",
                message=f"{problem.path}: {problem.message}" if problem.path else problem.message,
                file=str(problem.file) if problem.file else None,
                line=problem.line,
            )
            for problem in error.problems
        ]
    except DataflowError as error:
        return [Problem(kind="config", message=error.message)]
    return []


def _dbt_problems(workflow: InstalledWorkflow) -> list[Problem]:
    config = config_manager.load_config(workflow.name)
    project = project_dir(config)
    if not project.is_dir():
        return []  # a workflow of the user's own ops may do without dbt
    try:
        manifest_path(config)
    except DataflowError as error:
        return [Problem(kind="dbt", message=error.message, file=str(project))]
    return []
