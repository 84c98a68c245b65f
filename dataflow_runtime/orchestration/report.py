"""What a run did, or has done so far, read from the events that Dagster recorded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus

from dataflow_runtime.config import config_manager
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.orchestration.listing import RUN_TAG
from dataflow_runtime.orchestration.run_config import run_overrides

__all__ = [
    "OnStep",
    "RunReport",
    "StepReport",
    "Steps",
    "planned_steps",
    "report",
    "unrecorded_failure",
    "workflow_of",
]


@dataclass(frozen=True)
class StepReport:
    """One step of a run.

    Attributes:
        name: ``extract``, ``transform``, ``load`` or ``dbt``; another op's own name.
        status: ``queued``, ``running``, ``success``, ``failure`` or ``skipped``.
        seconds: Duration, None while it is running.
        result: What the step reports: counts and tables.
        started: When it started, in seconds since the epoch.
    """

    name: str
    status: str
    seconds: float | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    started: float = 0.0


OnStep = Callable[[StepReport], None]


@dataclass(frozen=True)
class RunReport:
    """What a run did: the shape of ``run --json``.

    Attributes:
        status: ``success``, ``failure`` or ``canceled``; before the end ``queued``, ``running`` or
            ``canceling``.
        warehouse: ``{type, location}``; None if nothing was loaded and the config is unreadable.
        error: ``{step, message, hint}`` of the first failure, None where there is none.
    """

    workflow: str
    run_id: str
    status: str
    rows: Mapping[str, int]
    rejected_by: Mapping[str, int]
    dbt: Mapping[str, Any]
    steps: list[StepReport]
    warehouse: Mapping[str, str] | None
    tables: list[str]
    error: Mapping[str, str | None] | None

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON shape."""
        return asdict(self) | {
            "steps": [
                {"name": step.name, "status": step.status, "seconds": step.seconds}
                for step in self.steps
            ]
        }


class Steps:
    """The steps of a run, as its events describe them, in the order in which they run."""

    def __init__(self, workflow: str, planned: list[str]) -> None:
        self.workflow = workflow
        names = [_step_name(key, workflow) for key in planned]
        self._steps = {name: StepReport(name=name, status="queued") for name in names}

    def __iter__(self) -> Iterator[StepReport]:
        return iter(self._steps.values())

    def take(self, event: DagsterEvent, at: float) -> StepReport | None:
        """Apply an event that happened at this time; return the step if it started or ended."""
        if event.step_key is None:
            return None
        name = _step_name(event.step_key, self.workflow)
        step = self._steps.get(name) or StepReport(name=name, status="queued")
        status = _STEP_STATUS.get(event.event_type)
        if status == "running":
            step = StepReport(name=name, status=status, started=at)
        elif status is not None:
            seconds = at - (step.started or at)
            if event.event_type == DagsterEventType.STEP_SUCCESS:
                seconds = event.step_success_data.duration_ms / 1000
            step = replace(step, status=status, seconds=round(seconds, 3))
        step = replace(step, result={**step.result, **_result(event)})
        self._steps[name] = step
        return step if status else None

    def at_the_end(self) -> list[StepReport]:
        """Return the steps of a run that is over: those that did not start are skipped."""
        ends = {"queued": "skipped", "running": "failure"}
        return [replace(step, status=ends.get(step.status, step.status)) for step in self]


def report(instance: DagsterInstance, run: DagsterRun) -> RunReport:
    """Return what a recorded run did, or has done so far."""
    workflow = workflow_of(run)
    steps = Steps(workflow, planned_steps(instance, run))
    error: dict[str, str | None] | None = None
    for entry in instance.all_logs(run.run_id, of_type=_READ):
        if entry.dagster_event is not None:
            steps.take(entry.dagster_event, entry.timestamp)
            error = error or _error(entry.dagster_event, workflow)
    if run.status == DagsterRunStatus.CANCELED:
        error = {**(error or _NO_STEP), "message": "the run was canceled", "hint": None}
    elif run.status == DagsterRunStatus.FAILURE:
        error = error or {**_NO_STEP, "message": "the run did not end"}
    else:
        error = None
    status = _RUN_STATUS.get(run.status, "queued")
    return _report(run, steps.at_the_end() if run.is_finished else list(steps), status, error)


def unrecorded_failure(run: DagsterRun, steps: Steps, message: str) -> RunReport:
    """Return the report of a run whose end Dagster could not record."""
    hint = "free disk space if that is the reason, then run again: what was loaded stays loaded"
    error = {"step": None, "message": message, "hint": hint}
    return _report(run, steps.at_the_end(), "failure", error)


def _report(
    run: DagsterRun,
    steps: list[StepReport],
    status: str,
    error: Mapping[str, str | None] | None,
) -> RunReport:
    workflow = workflow_of(run)
    merged: dict[str, Any] = {}
    for step in steps:
        merged |= step.result
    return RunReport(
        workflow=workflow,
        run_id=run.run_id,
        status=status,
        rows={key: merged.get(key, 0) for key in ("extracted", "rejected", "loaded")},
        rejected_by=merged.get("rejected_by", {}),
        dbt=merged.get("dbt", {"models": 0, "tests": 0, "failed": []}),
        steps=steps,
        warehouse=merged.get("warehouse") or _warehouse(workflow, run),
        tables=merged.get("tables", []),
        error=error,
    )


def workflow_of(run: DagsterRun) -> str:
    """Return the workflow of a run; of a run without `RUN_TAG`, its job."""
    return run.tags.get(RUN_TAG) or run.job_name


def planned_steps(instance: DagsterInstance, run: DagsterRun) -> list[str]:
    """Return the keys of a run's steps, each after those that it needs."""
    if run.execution_plan_snapshot_id is None:
        return []
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    needs: dict[str, set[str]] = {step.key: set() for step in plan.steps}
    for step in plan.steps:
        for part in step.inputs:
            needs[step.key] |= {handle.step_key for handle in part.upstream_output_handles}
    ordered: list[str] = []
    while waiting := [key for key in plan.step_keys_to_execute if key not in ordered]:
        ready = [key for key in waiting if not needs[key] & set(waiting)]
        ordered += ready or waiting
    return ordered


def _warehouse(workflow: str, run: DagsterRun) -> dict[str, str] | None:
    """Return the warehouse of a run that has not loaded, if its config can still be read."""
    from dataflow_runtime.pipeline.warehouse import location

    try:
        config = config_manager.load_config(workflow, **run_overrides(run.run_config))
    except DataflowError:
        return None
    return {"type": config.output.warehouse, "location": location(config)}


_NO_STEP: Mapping[str, str | None] = {"step": None, "hint": None}

_STEP_STATUS = {
    DagsterEventType.STEP_START: "running",
    DagsterEventType.STEP_RESTARTED: "running",
    DagsterEventType.STEP_SUCCESS: "success",
    DagsterEventType.STEP_FAILURE: "failure",
    DagsterEventType.STEP_SKIPPED: "skipped",
}

_RUN_STATUS = {
    DagsterRunStatus.STARTED: "running",
    DagsterRunStatus.SUCCESS: "success",
    DagsterRunStatus.FAILURE: "failure",
    DagsterRunStatus.CANCELING: "canceling",
    DagsterRunStatus.CANCELED: "canceled",
}

_READ = {
    *_STEP_STATUS,
    DagsterEventType.STEP_OUTPUT,
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.RUN_FAILURE,
}


# Key of a step's metadata to the key in its result.
_RESULT = {
    "rows_extracted": "extracted",
    "rows_rejected": "rejected",
    "rows_loaded": "loaded",
    "rows_duplicates": "duplicates",
    "rejected_by": "rejected_by",
    "loaded_tables": "tables",
    "warehouse": "warehouse",
}


def _result(event: DagsterEvent) -> dict[str, Any]:
    metadata = _metadata(event)
    result = {name: metadata[key].value for key, name in _RESULT.items() if key in metadata}
    if "models" in metadata and "tests" in metadata:
        failed = metadata["failed_nodes"].value if "failed_nodes" in metadata else []
        counts = {"models": metadata["models"].value, "tests": metadata["tests"].value}
        result["dbt"] = {**counts, "failed": failed}
    if "dataflow" in metadata:  # releases up to 0.3 recorded all of it under one key
        result |= metadata["dataflow"].value
    return result


def _metadata(event: DagsterEvent) -> Mapping[str, Any]:
    if event.event_type == DagsterEventType.STEP_OUTPUT:
        return event.step_output_data.metadata
    if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
        return event.materialization.metadata
    if event.event_type == DagsterEventType.STEP_FAILURE:
        failure = event.step_failure_data.user_failure_data
        return failure.metadata if failure else {}
    return {}


def _error(event: DagsterEvent, workflow: str) -> dict[str, str | None] | None:
    """Return the error of ``run --json`` for an event: the step, the message, what to do."""
    if event.event_type == DagsterEventType.RUN_FAILURE:
        # A failure outside the steps; Dagster's own message says only that there was one.
        # Without data, our own code has ended the run.
        data = event.job_failure_data if event.event_specific_data else None
        raised = data.error if data else None
        message = _raised(raised) if raised else event.message or "the run failed"
        return {**_NO_STEP, "message": mask(message)}
    if event.event_type != DagsterEventType.STEP_FAILURE:
        return None
    step, metadata = _step_name(event.step_key or "", workflow), _metadata(event)
    if "message" in metadata:
        hint = metadata["hint"].value if "hint" in metadata else None
        return {"step": step, "message": mask(str(metadata["message"].value)), "hint": hint}
    error = event.step_failure_data.error
    if error is not None and error.cls_name == "ChildProcessCrashException":
        hint = "it may have run out of memory, or crashed in native code"
        return {"step": step, "message": "the step's process was killed or crashed", "hint": hint}
    return {"step": step, "message": mask(_raised(error)), "hint": None}


def _raised(error: Any) -> str:
    """Return one line for an exception of the user's own op, with its file and line."""
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return "the step failed"
    message = str(error.message).strip().rpartition("\n")[2] or str(error.cls_name)
    places = re.findall(r'File "(.+?)", line (\d+)', "".join(error.stack or ()))
    own = [place for place in places if "site-packages" not in place[0]] or places
    return f"{message} ({own[-1][0]}:{own[-1][1]})" if own else message


def _step_name(step_key: str, workflow: str) -> str:
    # `my_workflow_raw.my_workflow_extract` is the same step as `my_workflow_extract`.
    return step_key.rsplit(".", 1)[-1].removeprefix(f"{workflow}_")
