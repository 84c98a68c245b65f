"""Checks installed workflows for everything that would stop a run, each in its own process.

A workflow that kills its process, or whose import never ends, is reported like any other broken
one. The dbt projects that are parsed here are ready for the code location.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflow_runtime.config import ConfigError, config_manager
from dataflow_runtime.errors import DataflowError, FailureKind
from dataflow_runtime.orchestration.projects import use_environment
from dataflow_runtime.settings import get_settings
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflow, find_workflows
from dataflow_runtime.workflows.loading import BrokenWorkflow

__all__ = ["CheckResult", "check_again", "check_workflows"]

TIME_LIMIT = 120.0
"""Seconds for one workflow: its import, its definitions, its dbt project."""

# Imported once, in the process from which the others are forked.
_PRELOAD = ["dataflow_runtime.orchestration.repositories", "dataflow_runtime.pipeline.steps"]


@dataclass(frozen=True)
class CheckResult:
    """The problems of one workflow, and the keys of the assets that it defines."""

    installed: InstalledWorkflow
    problems: list[BrokenWorkflow]
    asset_keys: Collection[str] = ()

    @property
    def name(self) -> str:
        """The advertised name."""
        return self.installed.name

    @property
    def status(self) -> str:
        """``ok`` or ``broken``."""
        return "broken" if self.problems else "ok"

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON shape, with package and version."""
        keys = ("kind", "message", "file", "line", "hint")
        return {
            "name": self.name,
            "status": self.status,
            "package": self.installed.package,
            "version": self.installed.version,
            "problems": [{key: getattr(problem, key) for key in keys} for problem in self.problems],
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
        build: Whether to build the dbt models on tables without rows, too.
        on_checked: Called with each result as soon as it is known.

    Raises:
        UnknownWorkflowError: No installed package advertises one of the names.
    """
    chosen = [find_workflow(name) for name in sorted(set(names))] or find_workflows()
    get_settings().make_home()

    def check(installed: InstalledWorkflow) -> CheckResult:
        result = _check_in_process(installed, build=build)
        if on_checked is not None:
            on_checked(result)
        return result

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(check, chosen))
    from dataflow_runtime.orchestration.repositories import key_clashes

    clashes = key_clashes((result.installed, result.asset_keys) for result in results)
    for result in results:
        result.problems.extend(clash for clash in clashes if clash.installed == result.installed)
    return results


def check_again() -> list[BrokenWorkflow]:
    """Return the workflows that killed their process in the last check, and still do.

    The code location asks before it imports them into its own process.
    """
    suspects = [found for found in find_workflows() if _killed_mark(found.name).exists()]
    problems: list[BrokenWorkflow] = []
    for suspect in suspects:
        problems += _check_in_process(suspect).problems
    return [problem for problem in problems if problem.kind in _KILLED]


_KILLED = (FailureKind.CRASH, FailureKind.TIMEOUT)


def _killed_mark(name: str) -> Path:
    """Return a file that exists if the last check of a workflow killed its process."""
    return get_settings().home / "killed_in_check" / name


def _check_in_process(installed: InstalledWorkflow, *, build: bool = False) -> CheckResult:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(installed, build, dict(os.environ), sending))
    process.start()
    sending.close()
    mark = _killed_mark(installed.name)
    try:
        if receiving.poll(TIME_LIMIT):
            result: CheckResult = receiving.recv()
            mark.unlink(missing_ok=True)
            return result
        kind, message = FailureKind.TIMEOUT, f"its check did not end within {TIME_LIMIT:.0f} s"
    except EOFError:
        process.join()
        kind = FailureKind.CRASH
        message = f"its import ended the process (exit code {process.exitcode})"
    finally:
        process.join(1)
        process.kill()
        process.join()
    mark.parent.mkdir(exist_ok=True)
    mark.touch()
    file = str(installed.file) if installed.file else None
    return CheckResult(installed, [BrokenWorkflow(installed, kind, message, file, None)])


def _send(
    installed: InstalledWorkflow, build: bool, environment: dict[str, str], sending: Any
) -> None:
    use_environment(environment)
    sending.send(_check(installed, build=build))


def _check(installed: InstalledWorkflow, *, build: bool) -> CheckResult:
    from dataflow_runtime.orchestration.repositories import build_workflow

    problems = _config_problems(installed)
    built = build_workflow(installed)
    if not isinstance(built, BrokenWorkflow):
        problems = problems or _pipeline_problems(installed, build=build)
        return CheckResult(installed, problems, built.asset_keys)
    # An invalid config breaks the import as well; reporting it once is enough.
    if not (built.kind is FailureKind.CONFIG and problems):
        problems.append(built)
    return CheckResult(installed, problems)


def _config_problems(installed: InstalledWorkflow) -> list[BrokenWorkflow]:
    if installed.config_file is None:
        return []
    kind = FailureKind.CONFIG
    try:
        config_manager.load_config(installed.name)
    except ConfigError as error:
        problems = []
        for found in error.problems:
            message = f"{found.path}: {found.message}" if found.path else found.message
            file = str(found.file) if found.file else None
            hint = found.hint or error.hint
            problems.append(BrokenWorkflow(installed, kind, message, file, found.line, hint))
        return problems
    except DataflowError as error:
        return [BrokenWorkflow(installed, kind, error.message, None, None, error.hint)]
    return []


def _pipeline_problems(installed: InstalledWorkflow, *, build: bool) -> list[BrokenWorkflow]:
    """Return what is wrong with transform and checks on a frame without rows, and with dbt."""
    from dataflow_runtime.orchestration.ops import run_on_no_rows
    from dataflow_runtime.pipeline.dbt import build_on_no_rows, manifest_path, project_dir

    problems = []
    columns = None
    config = config_manager.load_config(installed.name)
    try:
        columns = run_on_no_rows(config)
    except Exception as error:
        hint = error.hint if isinstance(error, DataflowError) else None
        message = str(error).partition("\n")[0] or type(error).__name__
        found = (FailureKind.CHECKS, message, str(installed.file), None, hint)
        problems.append(BrokenWorkflow(installed, *found))
    project = project_dir(config)
    if not project.is_dir():  # a job of other ops may do without dbt
        return problems
    try:
        manifest_path(config)
        if build and columns is not None:
            build_on_no_rows(config, columns)
    except DataflowError as error:
        broken = (FailureKind.DBT, error.message, str(project), None, error.hint)
        problems.append(BrokenWorkflow(installed, *broken))
    return problems
