"""Checks installed workflows for everything that would stop a run, each in its own process.

So a workflow that kills its process, or whose import never ends, is reported like any other broken
one. The code location reuses the dbt projects that are parsed here.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dataflow_runtime.config import ConfigError, config_manager
from dataflow_runtime.errors import DataflowError, FailureKind
from dataflow_runtime.settings import get_settings
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflow, find_workflows
from dataflow_runtime.workflows.loading import BrokenWorkflow

__all__ = ["CheckResult", "WorkflowProblem", "check_again", "check_workflows"]

TIME_LIMIT = 120.0
"""Seconds for one workflow: its import, its definitions, its dbt project."""

# What the processes have in common is imported once, in the process that they are forked from.
_PRELOAD = ["dataflow_runtime.orchestration.repositories", "dataflow_runtime.pipeline.steps"]


@dataclass(frozen=True)
class WorkflowProblem:
    """One reason why a workflow would not run."""

    kind: FailureKind
    message: str
    file: str | None = None
    line: int | None = None
    hint: str | None = None


@dataclass(frozen=True)
class CheckResult:
    """The problems of one workflow.

    Attributes:
        asset_keys: The assets that it defines.
    """

    name: str
    package: str
    version: str
    problems: list[WorkflowProblem]
    asset_keys: Collection[str] = field(default=(), repr=False)

    @property
    def status(self) -> str:
        """``ok`` or ``broken``."""
        return "broken" if self.problems else "ok"

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON shape, with package and version."""
        return {
            "name": self.name,
            "status": self.status,
            "package": self.package,
            "version": self.version,
            "problems": [asdict(problem) for problem in self.problems],
        }


def check_workflows(
    names: Collection[str] = (),
    *,
    build: bool = False,
    on_checked: Callable[[CheckResult], None] | None = None,
) -> list[CheckResult]:
    """Check the named workflows, or all installed ones; return a result for each, sorted by name.

    Args:
        names: The workflows; empty for all.
        build: Whether to build the dbt models, too, on tables without rows.
        on_checked: Called with each result as it comes.

    Raises:
        UnknownWorkflowError: No installed package advertises one of the names.
    """
    installed = find_workflows()
    if names:
        installed = [find_workflow(name) for name in sorted(set(names))]
    get_settings().make_home()

    def check(workflow: InstalledWorkflow) -> CheckResult:
        result = _check_in_process(workflow, build=build)
        if on_checked is not None:
            on_checked(result)
        return result

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(check, installed))
    _remember_killers(results)
    clashes = _key_clashes(installed, results)
    for result in results:
        result.problems.extend(clashes.get(result.name, ()))
    return results


def check_again() -> list[BrokenWorkflow]:
    """Return the workflows that killed their process in the last `check`, and still do.

    The code location asks before it imports them into its own process.
    """
    names = _killers()
    broken = []
    for installed in find_workflows():
        if installed.name not in names:
            continue
        for problem in _check_in_process(installed).problems:
            if problem.kind in _KILLED:
                found = (problem.kind, problem.message, problem.file, None)
                broken.append(BrokenWorkflow(installed, *found))
    return broken


_KILLED = (FailureKind.CRASH, FailureKind.TIMEOUT)


def _killers_file() -> Path:
    return get_settings().home / "killed_in_check.json"


def _killers() -> set[str]:
    file = _killers_file()
    return set(json.loads(file.read_text("utf-8"))) if file.exists() else set()


def _remember_killers(results: list[CheckResult]) -> None:
    names = _killers()
    for result in results:
        names.discard(result.name)
        if any(problem.kind in _KILLED for problem in result.problems):
            names.add(result.name)
    if names or _killers_file().exists():
        _killers_file().write_text(json.dumps(sorted(names)), "utf-8")


def _check_in_process(installed: InstalledWorkflow, *, build: bool = False) -> CheckResult:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(installed, build, dict(os.environ), sending))
    process.start()
    sending.close()
    file = str(installed.file) if installed.file else None
    try:
        if not receiving.poll(TIME_LIMIT):
            message = f"its check did not end within {TIME_LIMIT:.0f} s"
            problem = WorkflowProblem(FailureKind.TIMEOUT, message, file)
            return _result(installed, [problem])
        result: CheckResult = receiving.recv()
        return result
    except EOFError:
        process.join()
        message = f"its import ended the process (exit code {process.exitcode})"
        return _result(installed, [WorkflowProblem(FailureKind.CRASH, message, file)])
    finally:
        process.join(1)
        process.kill()
        process.join()


def _send(
    installed: InstalledWorkflow, build: bool, environment: dict[str, str], sending: Any
) -> None:
    # The process was forked from one that started before: its environment may be an older one.
    os.environ.clear()
    os.environ.update(environment)
    sending.send(_check(installed, build=build))


def _check(installed: InstalledWorkflow, *, build: bool) -> CheckResult:
    from dataflow_runtime.orchestration.repositories import build_workflow

    problems = _config_problems(installed)
    built = build_workflow(installed)
    if not isinstance(built, BrokenWorkflow):
        problems = problems or _pipeline_problems(installed, build=build)
        return _result(installed, problems, built.asset_keys)
    # An invalid config breaks the import as well; reporting it once is enough.
    if not (built.kind is FailureKind.CONFIG and problems):
        problems.append(_problem(built))
    return _result(installed, problems)


def _result(
    installed: InstalledWorkflow, problems: list[WorkflowProblem], keys: Collection[str] = ()
) -> CheckResult:
    return CheckResult(installed.name, installed.package, installed.version, problems, keys)


def _config_problems(installed: InstalledWorkflow) -> list[WorkflowProblem]:
    if installed.config_file is None:
        return []
    try:
        config_manager.load_config(installed.name)
    except ConfigError as error:
        problems = []
        for found in error.problems:
            message = f"{found.path}: {found.message}" if found.path else found.message
            file = str(found.file) if found.file else None
            hint = found.hint or error.hint
            problems.append(WorkflowProblem(FailureKind.CONFIG, message, file, found.line, hint))
        return problems
    except DataflowError as error:
        return [WorkflowProblem(FailureKind.CONFIG, error.message, hint=error.hint)]
    return []


def _pipeline_problems(installed: InstalledWorkflow, *, build: bool) -> list[WorkflowProblem]:
    """Return what is wrong with transform and checks on a frame without rows, and with dbt."""
    from dataflow_runtime.orchestration.ops import run_on_no_rows
    from dataflow_runtime.pipeline.dbt import build_on_no_rows, manifest_path, project_dir

    problems = []
    columns = None
    config = config_manager.load_config(installed.name)
    try:
        columns = run_on_no_rows(config)
    except Exception as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        problems.append(
            WorkflowProblem(FailureKind.CHECKS, message, str(installed.file), hint=_hint(error))
        )
    project = project_dir(config)
    if project.is_dir():  # a job of other ops may do without dbt
        try:
            manifest_path(config)
            if build and columns is not None:
                build_on_no_rows(config, columns)
        except DataflowError as error:
            problems.append(
                WorkflowProblem(FailureKind.DBT, error.message, str(project), hint=error.hint)
            )
    return problems


def _hint(error: Exception) -> str | None:
    return error.hint if isinstance(error, DataflowError) else None


def _key_clashes(
    installed: list[InstalledWorkflow], results: list[CheckResult]
) -> dict[str, list[WorkflowProblem]]:
    from dataflow_runtime.orchestration.repositories import key_clashes

    claims = zip(installed, (result.asset_keys for result in results), strict=True)
    problems: dict[str, list[WorkflowProblem]] = {}
    for clash in key_clashes(claims):
        problems.setdefault(clash.name, []).append(_problem(clash))
    return problems


def _problem(broken: BrokenWorkflow) -> WorkflowProblem:
    return WorkflowProblem(broken.kind, broken.reason, broken.file, broken.line, broken.hint)
