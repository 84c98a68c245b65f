"""Records which process executes a run, and ends runs whose process is gone."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.orchestration.listing import (
    PROCESS_TAG,
    RUN_TAG,
    WORKER_TAG,
    executed_here,
    run_lock_file,
)
from dataflow_runtime.settings import get_settings

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = [
    "WAITING",
    "RunExistsError",
    "end_killed_runs",
    "executes",
    "run_lock",
    "turn_of",
    "worker_of",
]

WAITING = f"{platform.node()}:0"
"""The `WORKER_TAG` of a run that is recorded and waits for a server of this host to start it."""

_NOT_FINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_logger = logging.getLogger("dataflow_runtime")


class RunExistsError(DataflowError):
    """A run with this id is recorded, or another process is about to record it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is a run {run_id}")


@contextmanager
def executes(instance: dg.DagsterInstance, run: dg.DagsterRun, workflow: str) -> Iterator[None]:
    """Hold the run's lock, and make it wait for its turn, whatever launched the run.

    Dagster's queue does not know the workflow of a run that the UI starts from assets.
    """
    process = f"{platform.node()}:{os.getpid()}"
    if run.tags.get(WORKER_TAG) == process:  # `dataflow-runtime run` holds them already
        yield
        return
    instance.add_run_tags(run.run_id, {PROCESS_TAG: process, RUN_TAG: workflow})
    with run_lock(run.run_id), turn_of(workflow):
        yield


def end_killed_runs(
    instance: dg.DagsterInstance, workflow: str | None = None, *, run_id: str | None = None
) -> None:
    """End all runs whose process on this host is gone, or those of a workflow, or one run.

    Dagster's daemon does not know these processes, so the runs would block the workflow's queue.
    """
    runs = dg.RunsFilter(
        run_ids=[run_id] if run_id else None,
        tags={RUN_TAG: workflow} if workflow else None,
        statuses=_NOT_FINISHED,
    )
    for run in instance.get_runs(runs):
        if executed_here(run.tags):
            with suppress(RunExistsError), run_lock(run.run_id):
                _end_killed_run(instance, run.run_id)


def _end_killed_run(instance: dg.DagsterInstance, run_id: str) -> None:
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, "The process of the run is gone.")
    else:
        instance.report_run_failed(run, "the process that executed the run is gone")


def worker_of(run: dg.DagsterRun) -> tuple[str | None, int]:
    """Return host and process of a run that our own processes execute; process 0 if it waits."""
    host, _, pid = run.tags.get(WORKER_TAG, "").rpartition(":")
    return host or None, int(pid or 0)


@contextmanager
def run_lock(run_id: str) -> Iterator[None]:
    """Hold the lock that shows that a run's process is alive; the system frees it when it dies.

    Raises:
        RunExistsError: Another process holds it.
    """
    import filelock

    lock = _lock(run_lock_file(run_id))
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise RunExistsError(run_id) from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextmanager
def turn_of(workflow: str) -> Iterator[None]:
    """Wait for the other runs of the workflow on this machine; killed ones do not count."""
    import filelock

    lock = _lock(get_settings().home / "locks" / f"{workflow}.lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        _logger.warning(
            "another run of %s is in progress on this machine: waiting for its end", workflow
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _lock(file: Path) -> BaseFileLock:
    import filelock

    # The process holds the lock, whichever of its threads releases it.
    file.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(file, thread_local=False)
