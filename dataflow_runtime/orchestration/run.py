"""Runs a workflow's job in this process, recorded in Dagster's instance, and reports on it."""

from __future__ import annotations

import os
import platform
import textwrap
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any

import dagster as dg

from dataflow_runtime.config import config_manager
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError, UsageError
from dataflow_runtime.orchestration import interrupts
from dataflow_runtime.orchestration._dagster import (
    RunAlreadyExists,
    dagster_name,
    execute,
    job_origin,
    leave_signals_alone,
    open_home,
)
from dataflow_runtime.orchestration.executors import build_executor
from dataflow_runtime.orchestration.listing import RUN_TAG, WORKER_TAG
from dataflow_runtime.orchestration.report import (
    OnStep,
    RunReport,
    Steps,
    planned_steps,
    report,
    unrecorded_failure,
    workflow_of,
)
from dataflow_runtime.orchestration.run_config import parse_window, run_config
from dataflow_runtime.orchestration.workers import (
    WAITING,
    RunExistsError,
    end_killed_runs,
    run_lock,
    turn_of,
)
from dataflow_runtime.settings import get_settings, temporary_environment

__all__ = ["open_instance", "run_workflow"]


def run_workflow(
    name: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    env: str | None = None,
    partition: str | None = None,
    start: str | None = None,
    end: str | None = None,
    rejected: str | None = None,
    on_step: OnStep | None = None,
    verbose: bool = False,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    record_only: bool = False,
) -> RunReport:
    """Run a workflow's registered job and return the report, also of a failed run.

    Args:
        name: The workflow.
        overrides: Config values for this run: dotted key to value.
        env: Name of the config overlay; by default ``DATAFLOW_ENV``.
        partition: Key of the partition, for a partitioned job.
        start: Only rows whose cursor is at or after this ISO 8601 time.
        end: Only rows whose cursor is before this ISO 8601 time.
        rejected: Name of a check, or ``*``: the rows that it rejected, not those of the source.
        on_step: Called whenever a step starts or ends.
        verbose: Whether Dagster logs to stderr.
        run_id: The run's id, by default a new one. A recorded run of this id is executed.
        tags: More tags for the run.
        record_only: Whether to record the run and leave its execution to a later call with its id.

    Raises:
        UsageError: The workflow or the partition does not exist, or the window is empty.
        DataflowError: The workflow is broken, its config is invalid, or runs cannot be recorded.
        RunExistsError: There is a run with this id.
        KeyboardInterrupt: The run was interrupted; Dagster has it as canceled.
    """
    options = {"env": env, "set": overrides or {}, "from": start, "to": end, "rejected": rejected}
    _check_options(name, options, partition)
    run_id = run_id or str(uuid.uuid4())
    with open_instance() as instance, run_lock(run_id), _recorded_options(name, options) as given:
        run = instance.get_run_by_id(run_id)
        worker = WAITING if record_only else f"{platform.node()}:{os.getpid()}"
        if run is None:
            tags = {RUN_TAG: name, WORKER_TAG: worker, **(tags or {})}
            run = _record(instance, run_id, given, partition, tags, verbose)
        else:
            run = _take_over(instance, run, worker)
        return report(instance, run) if record_only else _execute_in_turn(run, instance, on_step)


def _check_options(name: str, options: Mapping[str, Any], partition: str | None) -> None:
    """Find bad values before the run starts: they are errors of the command."""
    config_manager.load_config(name, env=options["env"], overrides=options["set"])
    build_executor(name)
    window = parse_window(options["from"], options["to"])
    if sum(given is not None for given in (partition, window, options["rejected"])) > 1:
        raise UsageError(
            "--partition, --from/--to and --rejected do not go together",
            hint="each of them says which rows to load",
        )


@contextmanager
def _recorded_options(name: str, options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the options without secrets, which the steps find in environment variables.

    Dagster records the run config as it is.
    """
    values, variables = config_manager.without_secrets(name, options["set"], env=options["env"])
    with temporary_environment(variables):
        yield {**options, "set": values}


def _recipe(name: str) -> Any:
    """Return what Dagster builds the workflow's job from, also in the processes of steps."""
    return dg.build_reconstructable_job(
        "dataflow_runtime.orchestration.repositories", "build_job", (name,)
    )


def _record(
    instance: dg.DagsterInstance,
    run_id: str,
    options: Mapping[str, Any],
    partition: str | None,
    tags: Mapping[str, str],
    verbose: bool,
) -> dg.DagsterRun:
    """Record a run that has not started.

    Raises:
        RunExistsError: Another process has just recorded it.
    """
    name = tags[RUN_TAG]
    recipe = _recipe(name)
    job = recipe.get_definition()
    if options["rejected"] is None:
        tags = {**tags, **_partition_tags(job, name, partition)}
    level = "DEBUG" if verbose else "CRITICAL"
    logging = {"loggers": {"console": {"config": {"log_level": level}}}}
    try:
        return instance.create_run_for_job(
            job_def=job,
            run_id=run_id,
            run_config={**run_config(job, name, options), **logging},
            tags=tags,
            job_code_origin=recipe.get_python_origin(),
            remote_job_origin=job_origin(
                "dataflow_runtime.dagster_repo", dagster_name(name), job.name
            ),
        )
    except RunAlreadyExists:
        raise RunExistsError(run_id) from None


def _take_over(instance: dg.DagsterInstance, run: dg.DagsterRun, worker: str) -> dg.DagsterRun:
    """Return a run that was only recorded, with this process as its worker.

    Raises:
        RunExistsError: The run has started, or was canceled.
    """
    if run.status != dg.DagsterRunStatus.NOT_STARTED or run.tags.get(WORKER_TAG) != WAITING:
        raise RunExistsError(run.run_id)
    instance.add_run_tags(run.run_id, {WORKER_TAG: worker})
    taken = instance.get_run_by_id(run.run_id)
    assert taken is not None
    return taken


def _execute_in_turn(
    run: dg.DagsterRun, instance: dg.DagsterInstance, on_step: OnStep | None
) -> RunReport:
    """Execute a recorded run after the other runs of its workflow, and record its end."""
    steps = Steps(workflow_of(run), planned_steps(instance, run))
    interruption = interrupts.current()
    interruption.last_words = lambda: _cancel(instance, run)
    try:
        with turn_of(steps.workflow):
            end_killed_runs(instance, steps.workflow)
            _execute(run, instance, steps, on_step)
        finished = instance.get_run_by_id(run.run_id)
        assert finished is not None
        return report(instance, finished)
    except KeyboardInterrupt:
        _cancel(instance, run)
        raise
    except Exception as error:
        # Dagster reports the errors of steps; this is another one, such as a full disk.
        message = mask(f"{type(error).__name__}: {error}")
        with suppress(Exception):
            instance.report_run_failed(run, message)
        return unrecorded_failure(run, steps, message)


def _execute(
    run: dg.DagsterRun, instance: dg.DagsterInstance, steps: Steps, on_step: OnStep | None
) -> None:
    interruption = interrupts.current()
    current = instance.get_run_by_id(run.run_id)
    if current is None or current.status == dg.DagsterRunStatus.CANCELING:
        raise KeyboardInterrupt
    if interrupts.is_active():
        leave_signals_alone()
    with closing(execute(_recipe(steps.workflow), run, instance)) as events:
        for event in events:
            step = steps.take(event, time.time())
            if step is not None and on_step is not None:
                on_step(step)
            if interruption.requested:
                instance.report_run_canceling(run)  # or Dagster records the interrupt as a failure
                raise KeyboardInterrupt
    interruption.check()


def _cancel(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Record a run as canceled, unless it has succeeded or is canceled already."""
    current = instance.get_run_by_id(run.run_id)
    done = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED)
    if current is not None and current.status not in done:
        instance.report_run_canceled(current)


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Open the Dagster instance of ``DAGSTER_HOME``, which is made where it does not exist.

    Raises:
        DataflowError: Its dagster.yaml is invalid, or its storage cannot be opened.
    """
    import filelock

    settings = get_settings()
    settings.make_home()
    home = settings.dagster_home
    # Processes that an executor starts read the variable.
    with temporary_environment({"DAGSTER_HOME": str(home)}):
        try:
            # Two processes that open a new home at once would both make its tables.
            with filelock.FileLock(home / ".opening.lock"):
                opened = open_home(home)
        except Exception as error:
            # Dagster answers a misspelt key with pages of what it allows.
            reason = textwrap.shorten(str(error), 300, placeholder=" …") or type(error).__name__
            raise DataflowError(
                mask(f"DAGSTER_HOME: {home} cannot be opened: {reason}"),
                hint=f"see {home / 'dagster.yaml'}, or name another folder in DAGSTER_HOME",
            ) from error
        with opened as instance:
            yield instance


def _partition_tags(job: dg.JobDefinition, workflow: str, partition: str | None) -> dict[str, str]:
    partitions = job.partitions_def
    if partition is None and partitions is None:
        return {}
    if partition is None:
        raise UsageError(f"workflow {workflow!r} is partitioned: name one", hint="--partition KEY")
    if partitions is None:
        raise UsageError(
            f"workflow {workflow!r} is not partitioned", hint="run it without --partition"
        )
    if not partitions.has_partition_key(partition):
        raise UsageError(
            f"workflow {workflow!r} has no partition {partition!r}",
            hint=f"the newest is {partitions.get_last_partition_key()!r}",
        )
    return {"dagster/partition": partition}
