"""Runs a workflow's registered job in this process, recorded in Dagster's instance, and reports what it did."""

from __future__ import annotations

import logging
import os
import platform
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunsFilter,
)

from dataflow_runtime.config import config_manager
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError, UsageError
from dataflow_runtime.orchestration._dagster import RunAlreadyExists, execute, job_origin
from dataflow_runtime.orchestration.listing import RUN_TAG
from dataflow_runtime.orchestration.options import parse_window
from dataflow_runtime.orchestration.report import OnStep, RunReport, Steps, planned_steps, report
from dataflow_runtime.orchestration.repositories import repository_name
from dataflow_runtime.settings import get_settings, temporary_environment

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = [
    "WAITING",
    "WORKER_TAG",
    "RunExistsError",
    "end_killed_runs",
    "lock_of",
    "open_instance",
    "run_workflow",
    "worker_of",
]

WORKER_TAG = "dataflow/worker"
"""Tag of a run that one of our own processes executes: ``<host>:<process id>``."""

WAITING = f"{platform.node()}:0"
"""The `WORKER_TAG` of a run that is recorded and waits for a server of this host to start it."""

_NOT_FINISHED = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
_logger = logging.getLogger("dataflow_runtime")


class RunExistsError(DataflowError):
    """A run with this id is recorded, or another process is about to record it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is a run {run_id}")


def run_workflow(
    name: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    env: str | None = None,
    partition: str | None = None,
    start: str | None = None,
    end: str | None = None,
    on_step: OnStep | None = None,
    verbose: bool = False,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    record_only: bool = False,
) -> RunReport:
    """Run a workflow's registered job and return the report; a failed run is a report too, not an exception.

    Args:
        name: The workflow.
        overrides: Config values for this run: dotted key to value.
        env: Name of the config overlay; by default ``DATAFLOW_ENV``.
        partition: Key of the partition, for a partitioned job.
        start: Only rows whose cursor is at or after this ISO 8601 time.
        end: Only rows whose cursor is before this ISO 8601 time.
        on_step: Called whenever a step starts or ends.
        verbose: Whether Dagster logs to stderr.
        run_id: The run's id, by default a new one. A run that was only recorded is executed by its id.
        tags: More tags for the run.
        record_only: Whether to record the run and leave its execution to a later call with its id.

    Raises:
        UsageError: The workflow or the partition does not exist, or the window is none.
        DataflowError: The workflow is broken, or its config is not valid.
        RunExistsError: There is a run with this id.
        KeyboardInterrupt: The run was interrupted; Dagster has it as canceled.
    """
    # Before anything starts: a bad value is an error of the command, not of a step.
    config_manager.load_config(name, env=env, overrides=overrides)
    if parse_window(start, end) and partition is not None:
        raise UsageError(
            "--partition and --from/--to do not go together",
            hint="a partition is a window of its own",
        )
    # Secrets reach the steps as variables: Dagster would record them with the run config, as they are.
    secret = config_manager.secret_keys(name, env=env, overrides=overrides)
    secrets = {
        "__".join(["DATAFLOW", name.upper(), *key.upper().split(".")]): str(value)
        for key, value in (overrides or {}).items()
        if key in secret
    }
    recorded = {key: value for key, value in (overrides or {}).items() if key not in secret}
    options = {"env": env, "set": recorded, "from": start, "to": end}
    recipe = dg.build_reconstructable_job(
        "dataflow_runtime.orchestration.repositories", "build_job", (name,)
    )
    job = recipe.get_definition()
    run_id = run_id or str(uuid.uuid4())
    worker = WAITING if record_only else f"{platform.node()}:{os.getpid()}"
    with open_instance() as instance, _run_lock(run_id), temporary_environment(secrets):
        run = instance.get_run_by_id(run_id)
        if run is not None:
            run = _taken_over(instance, run, worker)
        else:
            try:
                run = instance.create_run_for_job(
                    job_def=job,
                    run_id=run_id,
                    run_config=_run_config(job, name, options) | _logging(verbose),
                    tags={
                        RUN_TAG: name,
                        WORKER_TAG: worker,
                        **(tags or {}),
                        **_partition_tags(job, name, partition),
                    },
                    job_code_origin=recipe.get_python_origin(),
                    remote_job_origin=job_origin(
                        "dataflow_runtime.dagster_repo", repository_name(name), job.name
                    ),
                )
            except RunAlreadyExists:
                raise RunExistsError(run_id) from None
        if record_only:
            return report(instance, run)
        try:
            with _turn(name):
                end_killed_runs(instance, name)
                interrupted = _execute(recipe, run, instance, name, on_step)
        except BaseException as error:
            _break_off(instance, run_id, error)
            raise
        if interrupted:
            raise KeyboardInterrupt
        finished = instance.get_run_by_id(run_id)
        assert finished is not None
        return report(instance, finished)


def _taken_over(instance: DagsterInstance, run: DagsterRun, worker: str) -> DagsterRun:
    """Return a run that was only recorded, with this process as its worker.

    Raises:
        RunExistsError: The run has started, or was canceled.
    """
    if run.status != DagsterRunStatus.NOT_STARTED or run.tags.get(WORKER_TAG) != WAITING:
        raise RunExistsError(run.run_id)
    instance.add_run_tags(run.run_id, {WORKER_TAG: worker})
    taken = instance.get_run_by_id(run.run_id)
    assert taken is not None
    return taken


def _execute(
    recipe: Any, run: DagsterRun, instance: DagsterInstance, workflow: str, on_step: OnStep | None
) -> bool:
    """Execute a recorded run; return whether it was interrupted."""
    steps = Steps(workflow, planned_steps(instance, run))
    interrupted = False
    waited = instance.get_run_by_id(run.run_id)
    if waited is not None and waited.status == DagsterRunStatus.CANCELING:
        raise KeyboardInterrupt
    for event in execute(recipe, run, instance):
        if _is_interrupt(event) and not interrupted:
            interrupted = True
            instance.report_run_canceling(run)  # else Dagster takes it for a failure
        step = steps.take(event, time.time())
        if step is not None and on_step is not None:
            on_step(step)
    return interrupted


def _break_off(instance: DagsterInstance, run_id: str, error: BaseException) -> None:
    """Record the end of a run that Dagster has not ended: its process was interrupted while it waited, or failed."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return
    if isinstance(error, KeyboardInterrupt):
        instance.report_run_canceled(run)
    else:
        instance.report_run_failed(run, mask(f"{type(error).__name__}: {error}"))


@contextmanager
def _run_lock(run_id: str) -> Iterator[None]:
    """Hold the lock that says that a run's process is alive: the system lets go of it, however the process ends.

    Raises:
        RunExistsError: Another process holds it.
    """
    import filelock

    lock = lock_of(run_id)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise RunExistsError(run_id) from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def lock_of(run_id: str) -> BaseFileLock:
    """Return the lock of a run, not acquired."""
    return _lock(f"runs/{run_id}")


def _lock(name: str) -> BaseFileLock:
    import filelock

    # A server acquires and releases the lock of a waiting run in different threads.
    lock = filelock.FileLock(get_settings().home / "locks" / f"{name}.lock", thread_local=False)
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    return lock


@contextmanager
def open_instance() -> Iterator[DagsterInstance]:
    """Open the Dagster instance of ``DAGSTER_HOME``, made where it is missing, so that ``dev`` shows what `run` did."""
    import filelock

    settings = get_settings()
    settings.make_home()
    home = settings.dagster_home
    with temporary_environment(
        {"DAGSTER_HOME": str(home)}
    ):  # for the processes that an executor starts
        # Two that open a new home at a time would both make its tables.
        with filelock.FileLock(home / ".opening.lock"):
            opened = DagsterInstance.from_config(str(home))
        with opened as instance:
            yield instance


@contextmanager
def _turn(workflow: str) -> Iterator[None]:
    """Wait for the other runs of the workflow on this machine; one that was killed keeps nobody waiting."""
    import filelock

    lock = _lock(workflow)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        _logger.warning(
            "another run of %s is under way on this machine: waiting for its end", workflow
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def end_killed_runs(
    instance: DagsterInstance, workflow: str | None = None, *, run_id: str | None = None
) -> None:
    """Record the end of runs whose process on this host is gone: of all, of a workflow, or of one.

    The daemon does not know: to it they would go on forever, and keep later runs in its queue.
    """
    runs = RunsFilter(
        run_ids=[run_id] if run_id else None,
        tags={RUN_TAG: workflow} if workflow else None,
        statuses=_NOT_FINISHED,
    )
    for run in instance.get_runs(runs):
        host, pid = worker_of(run)
        if host == platform.node() and pid:
            with suppress(RunExistsError), _run_lock(run.run_id):
                _end_killed_run(instance, run.run_id)


def _end_killed_run(instance: DagsterInstance, run_id: str) -> None:
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return
    if run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, "The process of the run is gone.")
    else:
        instance.report_run_failed(run, "the process that executed the run is gone")


def worker_of(run: DagsterRun) -> tuple[str | None, int]:
    """Return host and process of a run that our own processes execute; process 0 if it waits."""
    host, _, pid = run.tags.get(WORKER_TAG, "").rpartition(":")
    return host or None, int(pid or 0)


def _run_config(job: dg.JobDefinition, workflow: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return run config that hands the options to the extract op, wherever that stands in the job."""
    given = {key: value for key, value in options.items() if value}
    if not given:
        return {}
    path = _find_node(job.graph, f"{workflow}_extract")
    if path is None:
        raise UsageError(
            f"workflow {workflow!r} has no op {workflow}_extract, which takes --set, --env, --from and --to",
            hint="build its job from pipeline_ops or pipeline_assets, or set DATAFLOW__ variables",
        )
    config: dict[str, Any] = {"config": given}
    for node in reversed(path):
        config = {"ops": {node: config}}
    return config


def _logging(verbose: bool) -> dict[str, Any]:
    return {"loggers": {"console": {"config": {"log_level": "DEBUG" if verbose else "CRITICAL"}}}}


def _find_node(graph: dg.GraphDefinition, op: str) -> list[str] | None:
    for node in graph.nodes:
        if node.definition.name == op:
            return [node.name]
        if isinstance(node.definition, dg.GraphDefinition) and (
            path := _find_node(node.definition, op)
        ):
            return [node.name, *path]
    return None


def _partition_tags(job: dg.JobDefinition, workflow: str, partition: str | None) -> dict[str, str]:
    if (partition is None) == (job.partitions_def is None):
        if (
            partition is not None
            and job.partitions_def
            and not job.partitions_def.has_partition_key(partition)
        ):
            raise UsageError(
                f"workflow {workflow!r} has no partition {partition!r}",
                hint=f"the newest is {job.partitions_def.get_last_partition_key()!r}",
            )
        return {} if partition is None else {"dagster/partition": partition}
    if partition is not None:
        raise UsageError(
            f"workflow {workflow!r} is not partitioned", hint="run it without --partition"
        )
    raise UsageError(f"workflow {workflow!r} is partitioned: name one", hint="--partition KEY")


def _is_interrupt(event: DagsterEvent) -> bool:
    return (
        event.event_type == DagsterEventType.STEP_FAILURE
        and event.step_failure_data.error_source is not None
        and event.step_failure_data.error_source.name == "INTERRUPT"
    )
