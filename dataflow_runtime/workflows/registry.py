"""The in-process table of workflows, filled by `register_workflow`. Standard library only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dataflow_runtime.errors import DataflowError, DuplicateWorkflowError

__all__ = ["Registration", "WorkflowMetadata", "forget", "register_workflow", "registrations"]

J = TypeVar("J")

_KNOWN = ("description", "owner", "schedule", "tags")


@dataclass(frozen=True)
class WorkflowMetadata:
    """Description, owner, schedule and tags of a workflow.

    Attributes:
        description: One line.
        owner: Team or person to ask.
        schedule: Cron expression; the config's ``schedule.cron`` wins over it.
        tags: Words to filter by.
        extra: Every other key, as given.
    """

    description: str | None = None
    owner: str | None = None
    schedule: str | None = None
    tags: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> WorkflowMetadata:
        """Validate a metadata mapping; keys that are not known go to `extra`.

        Raises:
            DataflowError: A value of a known key has the wrong type.
        """
        for key in ("description", "owner", "schedule"):
            if not isinstance(values.get(key), str | None):
                raise DataflowError(f"metadata {key!r}: expected a string, found {values[key]!r}")
        tags = values.get("tags") or ()
        if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
            raise DataflowError(f"metadata 'tags': expected a list of strings, found {tags!r}")
        return cls(
            description=values.get("description"),
            owner=values.get("owner"),
            schedule=values.get("schedule"),
            tags=tuple(tags),
            extra={key: value for key, value in values.items() if key not in _KNOWN},
        )


@dataclass(frozen=True)
class Registration:
    """One registered workflow: the job, its metadata, and where it was registered."""

    name: str
    job: Any
    metadata: WorkflowMetadata
    module: str
    file: str
    line: int

    @property
    def place(self) -> str:
        """``file:line`` of the registration."""
        return f"{self.file}:{self.line}"


_registrations: dict[str, Registration] = {}


def register_workflow(*, name: str, metadata: Mapping[str, Any] | None = None) -> Callable[[J], J]:
    """Register the decorated Dagster job (op job, asset job or graph) and return it unchanged.

    Args:
        name: The workflow's name: what commands, URLs and environment variables call it.
        metadata: ``description``, ``owner``, ``schedule`` (cron) and ``tags``; other keys are kept
            as ``extra``. ``dataflow-runtime list`` shows literal values without an import.

    Raises:
        DataflowError: The name is not an identifier, or a metadata value has the wrong type.
        DuplicateWorkflowError: Another place has registered the name; the error names both.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise DataflowError(
            f"workflow name {name!r}: expected letters, digits and underscores, no digit first"
        )
    parsed = WorkflowMetadata.from_mapping(metadata or {})
    here = inspect.currentframe()
    assert here is not None
    assert here.f_back is not None
    caller = here.f_back
    module = caller.f_globals.get("__name__", "?")
    file, line = caller.f_code.co_filename, caller.f_lineno

    def register(job: J) -> J:
        registration = Registration(
            name=name, job=job, metadata=parsed, module=module, file=file, line=line
        )
        known = _registrations.get(name)
        # The same line again is a reload of the module, not a second workflow.
        if known is not None and known.place != registration.place:
            raise DuplicateWorkflowError(name, known.place, registration.place)
        _registrations[name] = registration
        return job

    return register


def registrations() -> Mapping[str, Registration]:
    """Return a copy of the table: workflow name to registration."""
    return dict(_registrations)


def forget(names: Iterable[str]) -> None:
    """Remove workflows from the table: those that a module registered before its import failed."""
    for name in names:
        _registrations.pop(name, None)
