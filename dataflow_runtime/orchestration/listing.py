"""Lists the installed workflows without importing them: ``dataflow-runtime list`` and ``show``."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow_runtime.config import config_manager, configured_cron
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflow, find_workflows
from dataflow_runtime.workflows.registry import WorkflowMetadata

if TYPE_CHECKING:
    from dagster import DagsterInstance

__all__ = [
    "PROCESS_TAG",
    "RUN_TAG",
    "WORKER_TAG",
    "ListedWorkflow",
    "describe",
    "executed_here",
    "has_instance",
    "last_run",
    "last_runs",
    "list_workflows",
    "run_lock_file",
    "show",
    "show_workflow",
]

RUN_TAG = "dataflow/workflow"
"""Tag of each run of a workflow in Dagster, however the run was started."""

WORKER_TAG = "dataflow/worker"
"""Tag of a run that one of our own processes executes: ``<host>:<process id>``."""

PROCESS_TAG = "dataflow/process"
"""The same for a run that Dagster has launched."""

_ENDED = ("success", "failure", "canceled")


@dataclass(frozen=True)
class ListedWorkflow:
    """A workflow as `list` shows it.

    Attributes:
        status: ``ok``; ``broken`` if that shows without an import; ``unknown`` if the metadata is
            not literal.
        schedule: The cron expression that will run: the config's, else the decorator's.
    """

    name: str
    package: str
    version: str
    description: str | None
    owner: str | None
    schedule: str | None
    tags: tuple[str, ...]
    status: str
    error: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON shape."""
        return asdict(self)


def list_workflows(*, tag: str | None = None, owner: str | None = None) -> list[ListedWorkflow]:
    """Return the installed workflows, sorted by name, narrowed to a tag and an owner."""
    entries: Iterable[ListedWorkflow] = map(describe, find_workflows())
    return [
        entry
        for entry in entries
        if (tag is None or tag in entry.tags) and (owner is None or owner == entry.owner)
    ]


def describe(workflow: InstalledWorkflow) -> ListedWorkflow:
    """Return the listed form of an installed workflow."""
    metadata, problem = _metadata(workflow)
    error = workflow.error or problem
    cron = None
    if workflow.config_file is not None:
        # perf: `settings` would import pydantic, which doubles the time of `list`
        cron = configured_cron(
            workflow.name, workflow.config_file, os.environ.get("DATAFLOW_ENV") or None
        )
    return ListedWorkflow(
        name=workflow.name,
        package=workflow.package,
        version=workflow.version,
        description=metadata.description,
        owner=metadata.owner,
        schedule=cron or metadata.schedule,
        tags=metadata.tags,
        status="broken" if error else "unknown" if workflow.metadata is None else "ok",
        error=error,
    )


def show_workflow(name: str) -> dict[str, Any]:
    """Return everything about one workflow that is known without importing it.

    Raises:
        UnknownWorkflowError: No installed package advertises it.
    """
    return show(find_workflow(name)) | {"last_run": _last_run(name)}


def show(workflow: InstalledWorkflow) -> dict[str, Any]:
    """Return what the files of an installed workflow say about it."""
    directory = workflow.directory
    models = directory / "dbt" / "models" if directory else None
    return describe(workflow).to_json() | {
        "extra": dict(_metadata(workflow)[0].extra),
        "entry_point": f"{workflow.entry_point} = {workflow.module}",
        "paths": {
            "module": str(workflow.file) if workflow.file else None,
            **{
                part: str(directory / part)
                for part in ("config.yaml", "dbt", "evidence")
                if directory and (directory / part).exists()
            },
        },
        "config": _config_summary(workflow),
        "dbt_models": sorted(file.stem for file in models.rglob("*.sql")) if models else [],
    }


def _metadata(workflow: InstalledWorkflow) -> tuple[WorkflowMetadata, str | None]:
    """Return the workflow's metadata, and what is wrong with it."""
    try:
        return WorkflowMetadata.from_mapping(workflow.metadata or {}), None
    except DataflowError as error:
        return WorkflowMetadata(), error.message


def _config_summary(workflow: InstalledWorkflow) -> dict[str, Any] | None:
    if workflow.config_file is None or not workflow.config_file.exists():
        return None
    try:
        config = config_manager.load_config(workflow.name)
    except DataflowError as error:
        return {"error": error.message}
    return {
        "source": f"{config.source.type} {config.source.name}".strip(),
        "warehouse": config.output.warehouse,
        "table": f"{config.output.schema_}.{config.output.table}",
        "write_disposition": config.output.write_disposition,
        "primary_key": list(config.processing.primary_key),
        "schedule": config.schedule.cron,
        "timezone": config.schedule.timezone,
    }


def _last_run(name: str) -> dict[str, Any] | None:
    """Return the newest run in Dagster's instance, None where there is no instance or no run."""
    from dataflow_runtime.settings import get_settings

    home = get_settings().dagster_home
    if not has_instance():
        return None
    settings = home / "dagster.yaml"
    text = settings.read_text(encoding="utf-8") if settings.is_file() else ""
    if not re.search(r"^(run_)?storage:", text, re.MULTILINE):
        return _last_run_in_sqlite(home / "history" / "runs.db", name)
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(home)) as instance:
        return last_run(instance, name)


def _last_run_in_sqlite(database: Path, name: str) -> dict[str, Any] | None:
    """Return the newest run in the database that Dagster keeps where nothing else is configured.

    Opening an instance takes two seconds: too long for a command that only looks something up.
    """
    import sqlite3

    if not database.exists():
        return None
    query = """
        select runs.run_id, lower(status), create_timestamp, end_time - start_time, run_body
        from runs join run_tags using (run_id)
        where key = ? and value = ? order by runs.id desc limit 1
    """
    try:
        uri = f"{database.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            found = connection.execute(query, (RUN_TAG, name)).fetchone()
    except sqlite3.Error as error:
        hint = "check the free disk space and the permissions there"
        raise DataflowError(f"{database}: {error}", hint=hint) from error
    if found is None:
        return None
    run_id, status, created, seconds, body = found
    if status not in _ENDED and _is_dead(run_id, json.loads(body)["tags"]):
        status = "failure"
    started = datetime.fromisoformat(created).replace(tzinfo=UTC).isoformat()
    seconds = None if seconds is None else round(seconds, 2)
    return {"run_id": run_id, "status": status, "started": started, "seconds": seconds}


def _is_dead(run_id: str, tags: Mapping[str, str]) -> bool:
    """Return whether the process that executed a run on this host is gone."""
    import filelock

    if not executed_here(tags):
        return False
    file = run_lock_file(run_id)
    if not file.exists():
        return True
    try:
        with filelock.FileLock(file, blocking=False):
            return True
    except filelock.Timeout:
        return False


def executed_here(tags: Mapping[str, str]) -> bool:
    """Return whether a process of this host executes, or has executed, the run with these tags."""
    host, _, pid = (tags.get(WORKER_TAG) or tags.get(PROCESS_TAG, "")).rpartition(":")
    return host == platform.node() and pid != "0"


def run_lock_file(run_id: str) -> Path:
    """Return the file that the process of a run holds locked as long as it lives."""
    from dataflow_runtime.settings import get_settings

    return get_settings().home / "locks" / "runs" / f"{run_id}.lock"


def has_instance() -> bool:
    """Return whether runs are recorded anywhere yet."""
    from dataflow_runtime.settings import get_settings

    home = get_settings().dagster_home
    return (home / "history").is_dir() or (home / "dagster.yaml").is_file()


def last_run(instance: DagsterInstance, name: str) -> dict[str, Any] | None:
    """Return the newest run of a workflow, None where there is none."""
    return next(iter(last_runs(instance, name, 1)), None)


def last_runs(instance: DagsterInstance, name: str, limit: int) -> list[dict[str, Any]]:
    """Return the last runs of a workflow, the newest first.

    A run whose process on this host is gone has failed.
    """
    from dagster import RunsFilter

    from dataflow_runtime.orchestration.workers import end_killed_runs

    end_killed_runs(instance, name)
    runs = []
    for record in instance.get_run_records(RunsFilter(tags={RUN_TAG: name}), limit=limit):
        seconds = None
        if record.end_time is not None and record.start_time is not None:
            seconds = round(record.end_time - record.start_time, 2)
        runs.append(
            {
                "run_id": record.dagster_run.run_id,
                "status": record.dagster_run.status.value.lower(),
                "started": record.create_timestamp.isoformat(),
                "seconds": seconds,
            }
        )
    return runs
