"""``/workflows/{name}/runs`` and ``/runs``: what is run, through Dagster's instance."""

from __future__ import annotations

from asyncio import wrap_future
from concurrent.futures import Future
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from starlette.concurrency import run_in_threadpool

from dataflow_runtime.api.instance import Instance, InstanceHolder
from dataflow_runtime.api.models import Run, RunRequest
from dataflow_runtime.api.problems import ApiError, invalid_config, public, responses
from dataflow_runtime.api.workflows import find
from dataflow_runtime.config import config_manager
from dataflow_runtime.config.secrets import lent_secrets
from dataflow_runtime.errors import DataflowError, UnknownWorkflowError
from dataflow_runtime.workflows.discovery import InstalledWorkflow

__all__ = ["router"]

router = APIRouter(tags=["runs"])

_LOCATION = {"Location": {"description": "Path of the run.", "schema": {"type": "string"}}}


@router.post(
    "/workflows/{name}/runs",
    response_model=Run,
    status_code=202,
    summary="Run a workflow",
    responses={
        200: {
            "model": Run,
            "description": "This idempotency key stands for this run already",
            "headers": _LOCATION,
        },
        202: {
            "description": "A new run is recorded, and a process of its own executes it",
            "headers": _LOCATION,
        },
        **responses(404, 409, 413, 415, 422),
    },
)
async def create_run(
    request: Request,
    name: str,
    response: Response,
    instance: Instance,
    wanted: RunRequest | None = None,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            description="Any text of your choice: the same request with the same key is the same run.",
        ),
    ] = None,
) -> Any:
    """Answers when the run is recorded: after the seconds that loading the workflow takes."""
    workflow = await find(request, name)
    wanted = wanted or RunRequest.model_validate({})
    future = await run_in_threadpool(_submit, workflow, instance, wanted, key)
    try:
        run, new = await wrap_future(future)
    except DataflowError as error:
        raise _refused(error, workflow) from None
    response.status_code = 202 if new else 200
    response.headers["Location"] = f"/runs/{run.run_id}"
    return await run_in_threadpool(_shown, instance, run, workflow)


def _submit(
    workflow: InstalledWorkflow, instance: InstanceHolder, wanted: RunRequest, key: str | None
) -> Future[Any]:
    # Most mistakes are in here, and this says so without a process and without Dagster.
    with lent_secrets():
        checked = config_manager.check(workflow.name, env=wanted.env, overrides=wanted.config)
        if not checked.valid:
            raise invalid_config(checked.problems, workflow.directory)
    try:
        return instance.launcher().submit(workflow.name, wanted.model_dump(), key)
    except DataflowError as error:
        raise _refused(error, workflow) from None


def _refused(error: DataflowError, workflow: InstalledWorkflow | None) -> ApiError:
    from dataflow_runtime.orchestration.launch import BusyError, ConflictError

    kinds = {BusyError: "busy", ConflictError: "conflict"}
    folder = workflow.directory if workflow else None
    hint = public(error.hint, folder) if error.hint else None
    return ApiError(kinds.get(type(error), "refused"), public(error.message, folder), hint=hint)


@router.get(
    "/runs/{run_id}", response_model=Run, summary="Show a run", responses=responses(404, 422)
)
async def get_run(request: Request, run_id: UUID, instance: Instance) -> Any:
    """What the run did, or has done so far, whoever started it."""
    run = await run_in_threadpool(_current, instance, run_id)
    return await _answer(request, instance, run)


@router.delete(
    "/runs/{run_id}",
    response_model=Run,
    status_code=202,
    summary="Cancel a run",
    responses=responses(404, 409, 422),
)
async def cancel_run(request: Request, run_id: UUID, instance: Instance) -> Any:
    """Interrupts the run, which then ends as `canceled`; one that is over is a conflict."""
    return await _answer(request, instance, await run_in_threadpool(_cancel, instance, run_id))


async def _answer(request: Request, instance: InstanceHolder, run: Any) -> dict[str, Any]:
    from dataflow_runtime.orchestration.report import workflow_of

    try:
        workflow: InstalledWorkflow | None = await find(request, workflow_of(run))
    except UnknownWorkflowError:
        workflow = None  # it was removed, its runs are still recorded
    return await run_in_threadpool(_shown, instance, run, workflow)


def _current(instance: InstanceHolder, run_id: UUID) -> Any:
    from dataflow_runtime.orchestration.launch import current

    run = current(instance.get(), str(run_id))
    if run is None:
        raise ApiError("unknown-run", f"no run {run_id} is recorded")
    return run


def _cancel(instance: InstanceHolder, run_id: UUID) -> Any:
    from dataflow_runtime.orchestration.launch import cancel

    run = _current(instance, run_id)
    try:
        cancel(instance.get(), run)
    except DataflowError as error:
        raise _refused(error, None) from None
    return _current(instance, run_id)


def _shown(
    instance: InstanceHolder, run: Any, workflow: InstalledWorkflow | None
) -> dict[str, Any]:
    """Return a run's report, without paths outside the workflow."""
    from dataflow_runtime.orchestration.report import report

    folder = workflow.directory if workflow else None
    found = report(instance.get(), run).to_json()
    if error := found["error"]:
        found["error"] = {
            key: public(value, folder) if value else None for key, value in error.items()
        }
    if warehouse := found["warehouse"]:
        found["warehouse"] = {key: public(value, folder) for key, value in warehouse.items()}
    found["dbt"] = found["dbt"] | {
        "failed": [
            {
                key: public(value, folder) if isinstance(value, str) else value
                for key, value in failure.items()
            }
            for failure in found["dbt"]["failed"]
        ]
    }
    return found
