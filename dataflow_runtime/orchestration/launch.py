"""Starts runs in processes of their own, which outlive the server; finds and cancels runs.

A run is started with the command that people type, ``dataflow-runtime run NAME --run-id ID``, and
what became of it is read from Dagster's instance. The overrides of a run, secrets among them,
travel through a pipe: they are on no command line and in no file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import IO, Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from dataflow_runtime.config import config_manager
from dataflow_runtime.errors import BusyError, ConflictError, DataflowError
from dataflow_runtime.orchestration.listing import WORKER_TAG
from dataflow_runtime.orchestration.report import workflow_of
from dataflow_runtime.orchestration.run import open_instance
from dataflow_runtime.orchestration.workers import (
    WAITING,
    RunExistsError,
    end_killed_runs,
    worker_of,
)

__all__ = ["Launcher", "cancel", "current"]

REQUEST_TAG = "dataflow/request"
"""Tag of a run with an idempotency key: a digest of what was asked for."""

LOADERS = 4  # workflows that are loaded at a time
LOAD_SECONDS = 60.0  # for loading a workflow and recording its run
MOST_RUNNING = 8  # processes of runs at a time, of each workflow one
MOST_WAITING = 100  # runs that wait to be loaded or to be executed

_KEYS = uuid.UUID("6f6d3c0e-3a44-5f0e-9d0c-3c1f4b6f2a57")
_QUEUE = RunsFilter(statuses=[DagsterRunStatus.NOT_STARTED], tags={WORKER_TAG: WAITING})


class Launcher:
    """The queue of a server's runs, first in first out. Thread-safe.

    A run is recorded as soon as its workflow is loaded. Where it has to wait, for a run of the same
    workflow or for one of `MOST_RUNNING` places, its process ends after that, and another one
    executes it when its turn comes. Dagster's instance holds the queue: it survives the server.
    """

    def __init__(self) -> None:
        """Start what an earlier server left in the queue."""
        self._open = ExitStack()
        self.instance = self._open.enter_context(open_instance())
        self._loaders = ThreadPoolExecutor(LOADERS)
        self._asked: list[Future[tuple[DagsterRun, bool]]] = []
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._processes: dict[str, str] = {}  # run id to workflow
        with self._lock:
            self._start_waiting()

    def submit(
        self, name: str, request: Mapping[str, Any], key: str | None
    ) -> Future[tuple[DagsterRun, bool]]:
        """Ask for a run; the future has it, and whether it is a new one, once it is recorded.

        A run's id follows from its idempotency key, and Dagster's storage takes an id once. So a
        key belongs to one run at most, whatever process is killed at whatever point.

        Args:
            name: The workflow.
            request: `config`, `env` and `partition`, each of which may be missing.
            key: Idempotency key, None for a new run in any case.

        Raises:
            BusyError: Too many runs wait; also from the future, as the next two.
            ConflictError: The key belongs to another request.
            DataflowError: The workflow cannot be run like this.
        """
        with self._lock:
            self._asked = [future for future in self._asked if not future.done()]
            if len(self._asked) + self.instance.get_runs_count(_QUEUE) >= MOST_WAITING:
                raise BusyError(f"{MOST_WAITING} runs are waiting", hint="try again later")
            self._asked.append(self._loaders.submit(self._launch, name, request, key))
            return self._asked[-1]

    def close(self) -> None:
        """Start no more runs."""
        self._closing.set()
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._open.close()

    def _launch(
        self, name: str, request: Mapping[str, Any], key: str | None
    ) -> tuple[DagsterRun, bool]:
        run_id = str(uuid.uuid4() if key is None else uuid.uuid5(_KEYS, key))
        tags = {} if key is None else {REQUEST_TAG: _digest(name, request, key)}
        run = self.instance.get_run_by_id(run_id)
        if run is not None:
            return _same(run, tags), False
        with self._lock:
            if run_id in self._processes:
                raise _under_way()
            options = {**request, "tags": tags, "record_only": self._has_to_wait(name, request)}
            process, output = self._start(name, run_id, options)
        give_up = time.monotonic() + LOAD_SECONDS
        while not self._closing.wait(0.05):
            ended = process.poll() is not None
            run = self.instance.get_run_by_id(run_id)
            if run is not None:
                return _same(run, tags), True
            if ended:
                raise _refusal(name, output)
            if time.monotonic() > give_up:
                os.killpg(process.pid, signal.SIGKILL)
                raise _not_loaded(name, f"did not load in {LOAD_SECONDS:.0f} seconds")
        raise BusyError("the server is stopping", hint="try again later")

    def _has_to_wait(self, name: str, request: Mapping[str, Any]) -> bool:
        """Return whether it is not the turn of a new run.

        Raises:
            BusyError: It is not, and the run's secrets cannot wait: they are recorded nowhere.
        """
        full = len(self._processes) >= MOST_RUNNING
        overrides = request.get("config", {})
        _, secrets = config_manager.without_secrets(name, overrides, env=request.get("env"))
        if not secrets:
            queued = {workflow_of(run) for run in self.instance.get_runs(_QUEUE)}
            return full or name in queued.union(self._processes.values())
        if full:
            raise BusyError("a run with secrets cannot wait in the queue", hint="try again later")
        return False

    def _start(
        self, name: str, run_id: str, options: Mapping[str, Any]
    ) -> tuple[subprocess.Popen[str], IO[str]]:
        output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        command = [sys.executable, "-P", "-m", "dataflow_runtime.cli", "run", name]
        process = subprocess.Popen(  # noqa: S603
            [*command, "--run-id", run_id, "--request", "-"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.DEVNULL,  # Dagster keeps what the steps print
            start_new_session=True,
            text=True,
        )
        self._processes[run_id] = name
        threading.Thread(target=self._attend, args=(process, run_id, options), daemon=True).start()
        return process, output

    def _attend(
        self, process: subprocess.Popen[str], run_id: str, options: Mapping[str, Any]
    ) -> None:
        """Tell a process what to run; at its end, start the runs of the queue whose turn it is."""
        process.communicate(json.dumps(options))
        run = current(self.instance, run_id)
        if run is not None and worker_of(run)[1] == 0 and not options.get("record_only"):
            # Else it would be started again and again.
            self.instance.report_run_failed(run, "its process ended before the run began")
        with self._lock:
            del self._processes[run_id]
            self._start_waiting()

    def _start_waiting(self) -> None:
        for run in self.instance.get_runs(_QUEUE, ascending=True):
            name = workflow_of(run)
            full = len(self._processes) >= MOST_RUNNING
            if not (full or name in self._processes.values() or self._closing.is_set()):
                self._start(name, run.run_id, {})


def current(instance: DagsterInstance, run_id: str) -> DagsterRun | None:
    """Return the present state of a run, or None. A run whose process is gone has ended."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        end_killed_runs(instance, run_id=run_id)
        run = instance.get_run_by_id(run_id)
    return run


def cancel(instance: DagsterInstance, run: DagsterRun) -> None:
    """Interrupt a `current` run: a process of ours as Ctrl-C does, else as Dagster does.

    Raises:
        ConflictError: It is over, or its process is on another machine or out of reach.
    """
    host, pid = worker_of(run)
    if run.is_finished:
        raise ConflictError(f"the run is over: {run.status.value.lower()}")
    if host is None:
        if not instance.run_coordinator.cancel_run(run.run_id):
            hint = "Dagster started it: see Dagster's own UI"
            raise ConflictError("Dagster cannot cancel the run", hint=hint)
    elif host != platform.node():
        raise ConflictError("another machine executes the run", hint="cancel it there")
    elif not pid:
        instance.report_run_canceled(run)
    else:
        instance.report_run_canceling(run)  # or Dagster records the interrupt as a failure
        try:
            os.kill(pid, signal.SIGINT)
        except ProcessLookupError:
            end_killed_runs(instance, run_id=run.run_id)


def _digest(name: str, request: Mapping[str, Any], key: str) -> str:
    # Keyed: secrets could be guessed from a plain digest. The key itself is not recorded.
    asked = json.dumps([name, request], sort_keys=True).encode()
    return hmac.digest(key.encode(), asked, hashlib.sha256).hex()


def _same(run: DagsterRun, tags: Mapping[str, str]) -> DagsterRun:
    """Return a run if it is what was asked for."""
    if run.tags.get(REQUEST_TAG) != tags.get(REQUEST_TAG):
        message = "this idempotency key belongs to another request"
        raise ConflictError(message, hint="a new request needs a new key")
    return run


def _under_way() -> ConflictError:
    message = "a request with this idempotency key is in progress"
    return ConflictError(message, hint="send it again in a moment")


def _not_loaded(name: str, what: str) -> DataflowError:
    hint = f"`dataflow-runtime check {name}` says more"
    return DataflowError(f"workflow {name!r} {what}", hint=hint)


def _refusal(name: str, output: IO[str]) -> DataflowError:
    """Return why a process that has ended did not record its run."""
    output.seek(0)
    try:
        error = json.load(output)["error"]
    except ValueError:
        return _not_loaded(name, "cannot be run: its process ended while it loaded the workflow")
    if error["kind"] == RunExistsError.__name__:
        return _under_way()
    return DataflowError(error["message"], hint=error["hint"])
