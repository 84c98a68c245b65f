"""Runs a workflow's registered job in this process, recorded in Dagster's instance, and reports what it did."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterEvent, DagsterEventType, DagsterInstance
from dagster._core.definitions.reconstruct import build_reconstructable_job
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.plan.objects import ErrorSource

from dataflow_runtime.catalog import RUN_TAG
from dataflow_runtime.config import config_manager
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import UsageError
from dataflow_runtime.pipeline.ops import RESULT
from dataflow_runtime.pipeline.warehouse import location
from dataflow_runtime.settings import get_settings, temporary_environment

__all__ = ["RunReport", "StepReport", "open_instance", "run_workflow"]

_logger = logging.getLogger("dataflow_runtime")

OnStep = Callable[["StepReport"], None]


@dataclass(frozen=True)
class StepReport:
    """One step of a run.

    Attributes:
        name: ``extract``, ``transform``, ``load`` or ``dbt``; another op's own name.
        status: ``running``, ``success``, ``failure`` or ``skipped``.
        seconds: Duration, None while it is running.
        result: What the step reports: counts and tables.
        started: When it was first heard of, on the monotonic clock.
    """

    name: str
    status: str
    seconds: float | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class RunReport:
    """What a run did: the shape of ``run --json``."""

    workflow: str
    run_id: str
    status: str
    rows: Mapping[str, int]
    rejected_by: Mapping[str, int]
    dbt: Mapping[str, Any]
    steps: list[StepReport]
    warehouse: Mapping[str, str]
    tables: list[str]
    error: Mapping[str, str | None] | None

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON shape."""
        return asdict(self) | {
            "steps": [{"name": step.name, "status": step.status, "seconds": step.seconds} for step in self.steps]
        }


def run_workflow(
    name: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    env: str | None = None,
    partition: str | None = None,
    on_step: OnStep | None = None,
    verbose: bool = False,
) -> RunReport:
    """Run a workflow's registered job and return the report; a failed run is a report too, not an exception.

    Args:
        name: The workflow.
        overrides: Config values for this run: dotted key to value.
        env: Name of the config overlay; by default ``DATAFLOW_ENV``.
        partition: Key of the partition, for a partitioned job.
        on_step: Called whenever a step starts or ends.
        verbose: Whether Dagster logs to stderr.

    Raises:
        UsageError: The workflow or the partition does not exist.
        DataflowError: The workflow is broken, or its config is not valid.
        KeyboardInterrupt: The run was interrupted; Dagster has it as canceled.
    """
    # Before anything starts: a bad value is an error of the command, not of a step.
    config = config_manager.load_config(name, env=env, overrides=overrides)
    # Secrets reach the steps as variables: Dagster would record them with the run config, as they are.
    secret = config_manager.secret_keys(name, env=env, overrides=overrides)
    secrets = {
        "__".join(["DATAFLOW", name.upper(), *key.upper().split(".")]): str(value)
        for key, value in (overrides or {}).items()
        if key in secret
    }
    recorded = {key: value for key, value in (overrides or {}).items() if key not in secret}
    recipe = build_reconstructable_job("dataflow_runtime.definitions", "build_job", (name,))
    job = recipe.get_definition()
    steps: dict[str, StepReport] = {}
    error: dict[str, str | None] | None = None
    with open_instance() as instance, _turn(name), temporary_environment(secrets):
        run = instance.create_run_for_job(
            job_def=job,
            run_config=_run_config(job, name, env, recorded) | _logging(verbose),
            tags={RUN_TAG: name, **_partition_tags(job, name, partition)},
            job_code_origin=recipe.get_python_origin(),
        )
        interrupted = False
        for event in execute_run_iterator(recipe, run, instance):
            if _is_interrupt(event) and not interrupted:
                interrupted = True
                instance.report_run_canceling(run)  # else Dagster takes it for a failure
            step = _advance(steps, event, name)
            if step is not None and on_step is not None:
                on_step(step)
            error = error or _error(event, name)
        finished = instance.get_run_by_id(run.run_id)
    if interrupted:
        raise KeyboardInterrupt
    success = finished is not None and finished.is_success
    merged: dict[str, Any] = {}
    for step in steps.values():
        merged |= step.result
    return RunReport(
        workflow=name,
        run_id=run.run_id,
        status="success" if success else "failure",
        rows={key: merged.get(key, 0) for key in ("extracted", "rejected", "loaded")},
        rejected_by=merged.get("rejected_by", {}),
        dbt=merged.get("dbt", {"models": 0, "tests": 0, "failed": []}),
        steps=list(steps.values()),
        warehouse={"type": config.output.warehouse, "location": location(config)},
        tables=merged.get("tables", []),
        error=None if success else error or {"step": None, "message": "the run did not end", "hint": None},
    )


@contextmanager
def open_instance() -> Iterator[DagsterInstance]:
    """Open the Dagster instance of ``DAGSTER_HOME``, made where it is missing, so that ``dev`` shows what `run` did."""
    import filelock

    settings = get_settings()
    settings.make_home()
    home = settings.dagster_home
    with temporary_environment({"DAGSTER_HOME": str(home)}):  # for the processes that an executor starts
        # Two that open a new home at a time would both make its tables.
        with filelock.FileLock(home / ".opening.lock"):
            opened = DagsterInstance.from_config(str(home))
        with opened as instance:
            yield instance


@contextmanager
def _turn(workflow: str) -> Iterator[None]:
    """Wait for the other runs of the workflow on this machine; one that was killed keeps nobody waiting."""
    import filelock

    lock = filelock.FileLock(get_settings().home / "locks" / f"{workflow}.lock")
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        _logger.warning("another run of %s is under way on this machine: waiting for its end", workflow)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _run_config(job: dg.JobDefinition, workflow: str, env: str | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return run config that puts the overrides onto the extract op, wherever that stands in the job."""
    if env is None and not overrides:
        return {}
    path = _find_node(job.graph, f"{workflow}_extract")
    if path is None:
        raise UsageError(
            f"workflow {workflow!r} has no op {workflow}_extract, which takes --set and --env",
            hint="build its job from pipeline_ops or pipeline_assets, or set DATAFLOW__ variables",
        )
    config: dict[str, Any] = {"config": {"env": env, "set": dict(overrides)}}
    for node in reversed(path):
        config = {"ops": {node: config}}
    return config


def _logging(verbose: bool) -> dict[str, Any]:
    return {"loggers": {"console": {"config": {"log_level": "DEBUG" if verbose else "CRITICAL"}}}}


def _find_node(graph: dg.GraphDefinition, op: str) -> list[str] | None:
    for node in graph.nodes:
        if node.definition.name == op:
            return [node.name]
        if isinstance(node.definition, dg.GraphDefinition) and (path := _find_node(node.definition, op)):
            return [node.name, *path]
    return None


def _partition_tags(job: dg.JobDefinition, workflow: str, partition: str | None) -> dict[str, str]:
    if (partition is None) == (job.partitions_def is None):
        if partition is not None and job.partitions_def and not job.partitions_def.has_partition_key(partition):
            raise UsageError(
                f"workflow {workflow!r} has no partition {partition!r}",
                hint=f"the newest is {job.partitions_def.get_last_partition_key()!r}",
            )
        return {} if partition is None else {"dagster/partition": partition}
    if partition is not None:
        raise UsageError(f"workflow {workflow!r} is not partitioned", hint="run it without --partition")
    raise UsageError(f"workflow {workflow!r} is partitioned: name one", hint="--partition KEY")


def _advance(steps: dict[str, StepReport], event: DagsterEvent, workflow: str) -> StepReport | None:
    """Take an event into the steps; return the step if it has started or ended by it."""
    if event.step_key is None:
        return None
    name = _step_name(event.step_key, workflow)
    step = steps.get(name) or StepReport(name=name, status="running")
    status = _STATUS.get(event.event_type)
    if status == "running":
        step = StepReport(name=name, status=status)
    elif status is not None:
        data = event.event_specific_data
        milliseconds = getattr(data, "duration_ms", None)  # Dagster has it of steps that succeed
        seconds = time.monotonic() - step.started if milliseconds is None else milliseconds / 1000
        step = replace(step, status=status, seconds=round(seconds, 3))
    if found := _metadata(event).get(RESULT):
        step = replace(step, result={**step.result, **found.value})
    steps[name] = step
    return step if status else None


_STATUS = {
    DagsterEventType.STEP_START: "running",
    DagsterEventType.STEP_RESTARTED: "running",
    DagsterEventType.STEP_SUCCESS: "success",
    DagsterEventType.STEP_FAILURE: "failure",
    DagsterEventType.STEP_SKIPPED: "skipped",
}


def _metadata(event: DagsterEvent) -> Mapping[str, Any]:
    if event.event_type == DagsterEventType.STEP_OUTPUT:
        return event.step_output_data.metadata
    if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
        return event.materialization.metadata
    if event.event_type == DagsterEventType.STEP_FAILURE and event.step_failure_data.user_failure_data:
        return event.step_failure_data.user_failure_data.metadata
    return {}


def _error(event: DagsterEvent, workflow: str) -> dict[str, str | None] | None:
    """Return what ``run --json`` says of a failure: the step, the message, what to do."""
    if event.event_type == DagsterEventType.STEP_FAILURE:
        failure = event.step_failure_data
        metadata = _metadata(event)
        message = metadata["message"].value if "message" in metadata else failure.error_display_string
        hint = metadata["hint"].value if "hint" in metadata else None
        return {"step": _step_name(event.step_key or "", workflow), "message": mask(str(message)), "hint": hint}
    if event.event_type == DagsterEventType.RUN_FAILURE:
        return {"step": None, "message": mask(event.message or "the run failed"), "hint": None}
    return None


def _is_interrupt(event: DagsterEvent) -> bool:
    return (
        event.event_type == DagsterEventType.STEP_FAILURE
        and event.step_failure_data.error_source == ErrorSource.INTERRUPT
    )


def _step_name(step_key: str, workflow: str) -> str:
    # `my_workflow_raw.my_workflow_extract` is the same step as `my_workflow_extract`.
    return step_key.rsplit(".", 1)[-1].removeprefix(f"{workflow}_")
