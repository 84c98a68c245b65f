"""What a run did, read from the events that Dagster recorded: of any run, whoever started it, finished or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus

from dataflow_runtime.config import config_manager
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.orchestration.listing import RESULT, RUN_TAG
from dataflow_runtime.orchestration.options import run_overrides
from dataflow_runtime.pipeline.warehouse import location

__all__ = ["OnStep", "RunReport", "StepReport", "Steps", "planned_steps", "report", "workflow_of"]


@dataclass(frozen=True)
class StepReport:
    """One step of a run.

    Attributes:
        name: ``extract``, ``transform``, ``load`` or ``dbt``; another op's own name.
        status: ``running``, ``success``, ``failure`` or ``skipped``; ``queued`` while the run has not come to it.
        seconds: Duration, None while it is running.
        result: What the step reports: counts and tables.
        started: When it was first heard of, in seconds since the epoch.
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
        status: ``success`` or ``failure``; of a run that has not come to its end ``queued``, ``running`` or
            ``canceling``; ``canceled``.
        warehouse: ``{type, location}``; None where a run has not loaded and its config cannot be read any more.
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
    """The steps of a run, as far as its events tell. Iterating yields them in the order in which they run."""

    def __init__(self, workflow: str, planned: list[str]) -> None:
        self._workflow = workflow
        names = [_step_name(key, workflow) for key in planned]
        self._steps = {name: StepReport(name=name, status="queued") for name in names}

    def __iter__(self) -> Iterator[StepReport]:
        return iter(self._steps.values())

    def take(self, event: DagsterEvent, at: float) -> StepReport | None:
        """Take in an event that happened `at` this time; return the step if it has started or ended by it."""
        if event.step_key is None:
            return None
        name = _step_name(event.step_key, self._workflow)
        step = self._steps.get(name) or StepReport(name=name, status="queued")
        status = _STEP_STATUS.get(event.event_type)
        if status == "running":
            step = StepReport(name=name, status=status, started=at)
        elif status is not None:
            milliseconds = getattr(
                event.event_specific_data, "duration_ms", None
            )  # of steps that succeed
            seconds = at - (step.started or at) if milliseconds is None else milliseconds / 1000
            step = replace(step, status=status, seconds=round(seconds, 3))
        if found := _metadata(event).get(RESULT):
            step = replace(step, result={**step.result, **found.value})
        self._steps[name] = step
        return step if status else None

    def at_the_end(self) -> list[StepReport]:
        """Return the steps of a run that is over: what it did not come to is skipped, what it broke off has failed."""
        ends = {"queued": "skipped", "running": "failure"}
        return [replace(step, status=ends.get(step.status, step.status)) for step in self]


def report(instance: DagsterInstance, run: DagsterRun) -> RunReport:
    """Return what a recorded run did, or has done so far."""
    workflow = workflow_of(run)
    steps = Steps(workflow, planned_steps(instance, run))
    error: dict[str, str | None] | None = None
    for entry in instance.all_logs(run.run_id, of_type=_TOLD):
        if entry.dagster_event is not None:
            steps.take(entry.dagster_event, entry.timestamp)
            error = error or _error(entry.dagster_event, workflow)
    if run.status == DagsterRunStatus.CANCELED:
        error = {
            "step": error["step"] if error else None,
            "message": "the run was canceled",
            "hint": None,
        }
    elif run.status == DagsterRunStatus.FAILURE:
        error = error or {"step": None, "message": "the run did not end", "hint": None}
    else:
        error = None
    found = steps.at_the_end() if run.is_finished else list(steps)
    merged: dict[str, Any] = {}
    for step in found:
        merged |= step.result
    return RunReport(
        workflow=workflow,
        run_id=run.run_id,
        status=_RUN_STATUS.get(run.status, "queued"),
        rows={key: merged.get(key, 0) for key in ("extracted", "rejected", "loaded")},
        rejected_by=merged.get("rejected_by", {}),
        dbt=merged.get("dbt", {"models": 0, "tests": 0, "failed": []}),
        steps=found,
        warehouse=merged.get("warehouse") or _warehouse(workflow, run),
        tables=merged.get("tables", []),
        error=error,
    )


def workflow_of(run: DagsterRun) -> str:
    """Return the workflow of a run; of one that Dagster itself started and that has not begun yet, the job."""
    return run.tags.get(RUN_TAG) or run.job_name


def planned_steps(instance: DagsterInstance, run: DagsterRun) -> list[str]:
    """Return the keys of the steps that a run consists of, each after those that it needs."""
    if run.execution_plan_snapshot_id is None:
        return []
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    needs = {
        step.key: {
            handle.step_key for part in step.inputs for handle in part.upstream_output_handles
        }
        for step in plan.steps
    }
    ordered: list[str] = []
    while waiting := [key for key in plan.step_keys_to_execute if key not in ordered]:
        ready = [key for key in waiting if not needs[key] & set(waiting)]
        ordered += ready or waiting
    return ordered


def _warehouse(workflow: str, run: DagsterRun) -> dict[str, str] | None:
    """Return where a run that has not loaded anything would have, as far as its config can be read now."""
    try:
        config = config_manager.load_config(workflow, **run_overrides(run.run_config))
    except DataflowError:
        return None
    return {"type": config.output.warehouse, "location": location(config)}


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

_TOLD = {
    *_STEP_STATUS,
    DagsterEventType.STEP_OUTPUT,
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.RUN_FAILURE,
}


def _metadata(event: DagsterEvent) -> Mapping[str, Any]:
    if event.event_type == DagsterEventType.STEP_OUTPUT:
        return event.step_output_data.metadata
    if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
        return event.materialization.metadata
    if (
        event.event_type == DagsterEventType.STEP_FAILURE
        and event.step_failure_data.user_failure_data
    ):
        return event.step_failure_data.user_failure_data.metadata
    return {}


def _error(event: DagsterEvent, workflow: str) -> dict[str, str | None] | None:
    """Return what ``run --json`` says of a failure: the step, the message, what to do."""
    if event.event_type == DagsterEventType.STEP_FAILURE:
        failure = event.step_failure_data
        metadata = _metadata(event)
        message = (
            metadata["message"].value if "message" in metadata else failure.error_display_string
        )
        hint = metadata["hint"].value if "hint" in metadata else None
        return {
            "step": _step_name(event.step_key or "", workflow),
            "message": mask(str(message)),
            "hint": hint,
        }
    if event.event_type == DagsterEventType.RUN_FAILURE:
        return {"step": None, "message": mask(event.message or "the run failed"), "hint": None}
    return None


def _step_name(step_key: str, workflow: str) -> str:
    # `my_workflow_raw.my_workflow_extract` is the same step as `my_workflow_extract`.
    return step_key.rsplit(".", 1)[-1].removeprefix(f"{workflow}_")
