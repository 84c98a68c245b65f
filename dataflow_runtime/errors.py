"""The errors that users see: one base class, one format, an exit code each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

__all__ = [
    "BusyError",
    "ConflictError",
    "DataflowError",
    "DuplicateWorkflowError",
    "FailureKind",
    "TransientError",
    "UnknownWorkflowError",
    "UsageError",
    "did_you_mean",
]


class FailureKind(StrEnum):
    """Why a workflow cannot be used; `kind` in ``check --json``.

    Attributes:
        MISSING: The advertised module does not exist.
        IMPORT: The module raises while it is imported, or cannot be parsed.
        EXIT: The module calls ``sys.exit``.
        UNREGISTERED: The module registers no workflow of the advertised name.
        DUPLICATE: Two packages advertise the name.
        DEFINITIONS: Dagster refuses the job, its assets, schedules or sensors.
        ASSET_KEY: Another workflow defines an asset of the same key.
        CONFIG: The configuration is missing or invalid.
        CHECKS: The transform or a check fails on a frame without rows.
        DBT: The dbt project cannot be parsed.
        CRASH: The process that imported the module died.
        TIMEOUT: The import did not end in time.
    """

    MISSING = "missing"
    IMPORT = "import"
    EXIT = "exit"
    UNREGISTERED = "unregistered"
    DUPLICATE = "duplicate"
    DEFINITIONS = "definitions"
    ASSET_KEY = "asset_key"
    CONFIG = "config"
    CHECKS = "checks"
    DBT = "dbt"
    CRASH = "crash"
    TIMEOUT = "timeout"


class DataflowError(Exception):
    """A mistake that its user can fix. Printed as one line and a hint, never as a traceback.

    Attributes:
        message: What was found, where, and what is allowed.
        hint: What to do next, or None.
        exit_code: Exit code of a command that ends with this error: 1 failure, 2 wrong usage.
        failure_kind: The kind of failure of a workflow that raises this error while it loads.
    """

    exit_code: ClassVar[int] = 1
    failure_kind: ClassVar[FailureKind] = FailureKind.IMPORT

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class TransientError(DataflowError):
    """A server or a lock failed temporarily: the step may be retried."""


class BusyError(DataflowError):
    """The server is at its limit now; the same request may succeed later."""


class ConflictError(DataflowError):
    """The present state, such as that of a run, does not allow the request."""


class UsageError(DataflowError):
    """A command or function was asked for something that does not exist."""

    exit_code = 2


class UnknownWorkflowError(UsageError):
    """No installed package advertises a workflow of this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        hint = "`dataflow-runtime list` prints the installed workflows"
        if not known:
            hint = "no workflow is installed; `pip install` one, or render one with `copier copy`"
        hint = did_you_mean(name, known) or hint
        super().__init__(f"unknown workflow {name!r}", hint=hint)


class DuplicateWorkflowError(DataflowError):
    """Two places claim one workflow name.

    Attributes:
        places: Both places, each as ``file:line (package version)`` as far as known.
    """

    def __init__(self, name: str, first: str, second: str) -> None:
        super().__init__(
            f"workflow {name!r} is registered twice: by {first} and by {second}",
            hint="rename one of them, or uninstall the package that should not be there",
        )
        self.places = (first, second)


def did_you_mean(found: str, allowed: Iterable[str]) -> str | None:
    """Return ``did you mean 'x'?`` for the closest allowed word, or None where nothing is close."""
    matches = difflib.get_close_matches(found, list(allowed), n=1)
    return f"did you mean {matches[0]!r}?" if matches else None
