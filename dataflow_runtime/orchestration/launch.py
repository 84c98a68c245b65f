"""Runs in processes of their own: launches one that outlives whoever asked, finds out what became of it, cancels it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import filelock
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from dataflow_runtime.config import ConfigError, Problem
from dataflow_runtime.errors import DataflowError, UsageError
from dataflow_runtime.orchestration.run import WORKER_TAG, lock_of

__all__ = ["CancelError", "ConflictError", "RunRequest", "cancel", "current", "launch"]

REQUEST_TAG = "dataflow/request"
"""Tag of a run that was asked for with an idempotency key: what was asked for, as a digest."""

_KEYS = uuid.UUID("6f6d3c0e-3a44-5f0e-9d0c-3c1f4b6f2a57")
_START_TIMEOUT = 120.0  # seconds for loading the workflow and recording the run


class ConflictError(DataflowError):
    """An idempotency key was used before for something else, or what it was used for is still being recorded."""


class CancelError(DataflowError):
    """The run cannot be canceled."""


@dataclass(frozen=True)
class RunRequest:
    """What a run is asked for.

    Attributes:
        name: The workflow.
        overrides: Config values of this run: dotted key to value.
        env: Name of the config overlay, None for ``DATAFLOW_ENV``.
        partition: Key of the partition, for a partitioned job.
    """

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    env: str | None = None
    partition: str | None = None


def launch(
    instance: DagsterInstance, request: RunRequest, *, key: str | None = None
) -> tuple[DagsterRun, bool]:
    """Start a worker for the run and return the run once it is recorded, and whether it is a new one.

    A run's id follows from its idempotency key, and Dagster's storage takes an id once: whoever is killed at whatever
    moment, a key stands for one run or for none yet.

    Args:
        instance: Where runs are recorded.
        request: What to run.
        key: Idempotency key; the same request with the same key is the same run.

    Raises:
        ConflictError: The key was used for another request, or for one that is just being recorded.
        DataflowError: The workflow cannot be run like this.
    """
    if key is None:
        run_id, tags = str(uuid.uuid4()), {}
    else:
        # Keyed: a digest of secrets alone could be found by trying. The key itself is not recorded.
        asked = json.dumps(asdict(request), sort_keys=True).encode()
        run_id = str(uuid.uuid5(_KEYS, key))
        tags = {REQUEST_TAG: hmac.digest(key.encode(), asked, hashlib.sha256).hex()}
        if (run := instance.get_run_by_id(run_id)) is not None:
            return _same(run, tags), False
    new = _start_worker(asdict(request) | {"run_id": run_id, "tags": tags})
    run = instance.get_run_by_id(run_id)
    if run is None:
        raise ConflictError(
            "a request with this idempotency key is under way", hint="send it again in a moment"
        )
    return _same(run, tags), new


def current(instance: DagsterInstance, run_id: str) -> DagsterRun | None:
    """Return a run as it is now, None for an unknown one. One whose process is gone is recorded as ended first."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished or _worker(run)[0] != platform.node():
        return run
    lock = lock_of(run_id)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return run  # alive
    try:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return run
        if run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "The process of the run is gone.")
        else:
            instance.report_run_failed(run, "the process that executed the run is gone")
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
    return instance.get_run_by_id(run_id)


def cancel(instance: DagsterInstance, run: DagsterRun) -> None:
    """Interrupt a run that is `current`: as Ctrl-C does for one of our own processes, else as Dagster does.

    Raises:
        CancelError: It is over, or its process is on another machine or not to be reached.
    """
    host, pid = _worker(run)
    if run.is_finished:
        raise CancelError(f"the run is over: {run.status.value.lower()}")
    if host is None:
        if not instance.run_coordinator.cancel_run(run.run_id):
            raise CancelError(
                "Dagster cannot cancel the run", hint="it was started by Dagster: see its own UI"
            )
        return
    if host != platform.node():
        raise CancelError("the run is executed on another machine", hint="cancel it there")
    instance.report_run_canceling(run)  # else Dagster takes the interrupt for a failure
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        current(instance, run.run_id)


def _worker(run: DagsterRun) -> tuple[str | None, int]:
    """Return machine and process of a run that one of our own processes executes."""
    host, _, pid = run.tags.get(WORKER_TAG, "").rpartition(":")
    return host or None, int(pid or 0)


def _same(run: DagsterRun, tags: Mapping[str, str]) -> DagsterRun:
    if run.tags.get(REQUEST_TAG) != tags.get(REQUEST_TAG):
        raise ConflictError(
            "this idempotency key was used for another request",
            hint="a new request needs a new key",
        )
    return run


def _start_worker(request: Mapping[str, Any]) -> bool:
    """Start a process that records and executes a run; return whether it has recorded it, and not another one."""
    process = subprocess.Popen(
        # Without the working directory on its path: the server has it not, either.
        [sys.executable, "-P", "-m", "dataflow_runtime.orchestration.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # Dagster keeps what the steps print
        start_new_session=True,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    timer = threading.Timer(_START_TIMEOUT, process.kill)
    timer.start()
    try:
        try:
            with process.stdin:
                json.dump(request, process.stdin)
        except BrokenPipeError:
            pass  # it ended early: its answer is missing
        with process.stdout:
            text = process.stdout.read()
    finally:
        timer.cancel()
        # Somebody has to take notice of its end.
        threading.Thread(target=process.wait, daemon=True).start()
    if not text:
        raise DataflowError(
            f"workflow {request['name']!r} cannot be run: its process ended while it loaded the workflow",
            hint=f"`dataflow-runtime check {request['name']}` says more",
        )
    answer = json.loads(text)
    if error := answer.get("error"):
        raise _as_raised(error)
    return "exists" not in answer


def _as_raised(error: Mapping[str, Any]) -> DataflowError:
    if error["kind"] == "config":
        return ConfigError(
            [Problem(**problem) for problem in error["problems"]], hint=error["hint"]
        )
    return (UsageError if error["kind"] == "usage" else DataflowError)(
        error["message"], hint=error["hint"]
    )
