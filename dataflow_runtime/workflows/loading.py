"""Imports installed workflows one by one: a broken one does not affect the others."""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from dataclasses import dataclass
from types import ModuleType

from dataflow_runtime.errors import DataflowError, FailureKind
from dataflow_runtime.workflows.discovery import InstalledWorkflow
from dataflow_runtime.workflows.registry import Registration, forget, registrations

__all__ = ["BrokenWorkflow", "LoadedWorkflow", "load"]


@dataclass(frozen=True)
class LoadedWorkflow:
    """A workflow whose module was imported.

    Attributes:
        installed: What is known without loading it.
        registration: Its job and metadata.
        module: The registering module; its schedules, sensors and assets belong to the workflow.
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
    """A workflow that cannot be used.

    Attributes:
        installed: What is known without loading it.
        kind: What is wrong.
        message: The last line of the traceback, or another description.
        file: Where, if known.
        line: Line in `file`.
        hint: What to do, or None.
    """

    installed: InstalledWorkflow
    kind: FailureKind
    message: str
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
        return f"workflow {self.name!r} ({package}) is broken: {where}: {self.message}"

    def error(self) -> DataflowError:
        """Return the error for a command that needs the workflow."""
        return DataflowError(str(self), hint=self.hint)


def load(installed: InstalledWorkflow) -> LoadedWorkflow | BrokenWorkflow:
    """Import an installed workflow. If its module raises, return a `BrokenWorkflow`."""
    if installed.error is not None and installed.error_kind in _NOT_IMPORTED:
        return _broken(installed, installed.error_kind, installed.error)
    before = registrations().keys()
    try:
        # Commands print data on stdout: what a module prints during import goes elsewhere.
        with contextlib.redirect_stdout(sys.stderr):
            module = importlib.import_module(installed.module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        forget(registrations().keys() - before)
        return _import_failure(installed, error)
    registration = registrations().get(installed.name)
    if registration is None:
        reason = f"module {installed.module!r} registers no workflow {installed.name!r}"
        hint = f'decorate its job with @register_workflow(name="{installed.name}", ...)'
        return _broken(installed, FailureKind.UNREGISTERED, reason, hint)
    return LoadedWorkflow(installed=installed, registration=registration, module=module)


# An import adds nothing about a missing module, and would let one of two packages win a name.
_NOT_IMPORTED = (FailureKind.DUPLICATE, FailureKind.MISSING)


def _broken(
    installed: InstalledWorkflow, kind: FailureKind, reason: str, hint: str | None = None
) -> BrokenWorkflow:
    file = str(installed.file) if installed.file else None
    return BrokenWorkflow(installed, kind, reason, file, installed.line, hint)


def _import_failure(installed: InstalledWorkflow, error: BaseException) -> BrokenWorkflow:
    kind, hint = FailureKind.IMPORT, None
    reason = traceback.format_exception_only(error)[-1].strip()
    file, line = _place(installed, error)
    if isinstance(error, DataflowError):
        kind, reason, hint = error.failure_kind, error.message, error.hint
    elif isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
    elif isinstance(error, SystemExit):
        kind = FailureKind.EXIT
    return BrokenWorkflow(installed, kind, reason, file, line, hint)


def _place(installed: InstalledWorkflow, error: BaseException) -> tuple[str, int | None]:
    """Return the innermost line of the workflow's own package that the error went through."""
    package = installed.module.partition(".")[0]
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
            return frame.f_code.co_filename, line
    return str(installed.file), installed.line
