"""Loading discovery: imports the installed workflows, each on its own, so that a broken one takes no other down."""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from collections.abc import Collection
from dataclasses import dataclass
from types import ModuleType

from dataflow_runtime.config import ConfigError
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflow, find_workflows
from dataflow_runtime.workflows.registry import Registration, forget, registrations

__all__ = ["BrokenWorkflow", "LoadedWorkflow", "load_workflow", "load_workflows"]


@dataclass(frozen=True)
class LoadedWorkflow:
    """A workflow whose module was imported.

    Attributes:
        installed: What was known before.
        registration: Its job and metadata.
        module: The registering module; what stands in its namespace belongs to the workflow.
    """

    installed: InstalledWorkflow
    registration: Registration
    module: ModuleType

    @property
    def name(self) -> str:
        """The registered name."""
        return self.registration.name


@dataclass(frozen=True)
class BrokenWorkflow:
    """A workflow that could not be loaded.

    Attributes:
        installed: What is known without loading it.
        kind: ``missing``, ``import``, ``exit``, ``unregistered``, ``duplicate``, ``definitions`` or ``config``.
        reason: The last line of the traceback, or what else is wrong.
        file: Where, as far as that is known.
        line: Line in `file`.
        hint: What to do, or None.
    """

    installed: InstalledWorkflow
    kind: str
    reason: str
    file: str | None
    line: int | None
    hint: str | None = None

    @property
    def name(self) -> str:
        """The advertised name."""
        return self.installed.name

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file or self.installed.module
        package = f"{self.installed.package} {self.installed.version}"
        return f"workflow {self.name!r} ({package}) is broken: {where}: {self.reason}"


def load_workflows(
    names: Collection[str] = (),
) -> tuple[list[LoadedWorkflow], list[BrokenWorkflow]]:
    """Import the installed workflows, or the named ones only, and return those that load and those that do not.

    Raises:
        UnknownWorkflowError: No installed package advertises one of the names.
    """
    installed = [find_workflow(name) for name in names] if names else find_workflows()
    outcomes = [_load(workflow) for workflow in installed]
    return (
        [outcome for outcome in outcomes if isinstance(outcome, LoadedWorkflow)],
        [outcome for outcome in outcomes if isinstance(outcome, BrokenWorkflow)],
    )


def load_workflow(name: str) -> LoadedWorkflow:
    """Import one workflow.

    Raises:
        UnknownWorkflowError: No installed package advertises it.
        DataflowError: It is broken; the message says where and why.
    """
    outcome = _load(find_workflow(name))
    if isinstance(outcome, BrokenWorkflow):
        raise DataflowError(str(outcome), hint=outcome.hint)
    return outcome


def _load(installed: InstalledWorkflow) -> LoadedWorkflow | BrokenWorkflow:
    if installed.error is not None and "claimed by" in installed.error:
        return _broken(installed, "duplicate", installed.error)
    if installed.file is None:
        return _broken(
            installed, "missing", installed.error or f"module {installed.module!r} does not exist"
        )
    before = registrations().keys()
    try:
        # What a workflow prints while it is imported must not mix with what a command prints.
        with contextlib.redirect_stdout(sys.stderr):
            module = importlib.import_module(installed.module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        forget(registrations().keys() - before)
        return _import_failure(installed, error)
    registration = registrations().get(installed.name)
    if registration is None:
        return _broken(
            installed,
            "unregistered",
            f"module {installed.module!r} registers no workflow {installed.name!r}",
            hint=f'decorate its job with @register_workflow(name="{installed.name}", ...)',
        )
    return LoadedWorkflow(installed=installed, registration=registration, module=module)


def _broken(
    installed: InstalledWorkflow, kind: str, reason: str, hint: str | None = None
) -> BrokenWorkflow:
    file = str(installed.file) if installed.file else None
    return BrokenWorkflow(
        installed=installed, kind=kind, reason=reason, file=file, line=installed.line, hint=hint
    )


def _import_failure(installed: InstalledWorkflow, error: BaseException) -> BrokenWorkflow:
    hint = None
    reason = traceback.format_exception_only(error)[-1].strip()
    file, line = _place(installed, error)
    if isinstance(error, DataflowError):
        reason, hint = error.message, error.hint
    elif isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
    kind = (
        "exit"
        if isinstance(error, SystemExit)
        else "config"
        if isinstance(error, ConfigError)
        else "import"
    )
    return BrokenWorkflow(
        installed=installed, kind=kind, reason=reason, file=file, line=line, hint=hint
    )


def _place(installed: InstalledWorkflow, error: BaseException) -> tuple[str, int | None]:
    """Return the innermost line of the workflow's own files that the error went through."""
    package = installed.module.partition(".")[0]
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
            return frame.f_code.co_filename, line
    return str(installed.file), installed.line
