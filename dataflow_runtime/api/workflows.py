"""``/workflows``: what is installed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from dataflow_runtime.api.answers import Limit, Offset, page
from dataflow_runtime.api.fresh import Fresh
from dataflow_runtime.api.instance import Instance, InstanceHolder
from dataflow_runtime.api.models import Workflow, WorkflowDetails
from dataflow_runtime.api.problems import jsonable, public, responses
from dataflow_runtime.errors import UnknownWorkflowError
from dataflow_runtime.orchestration.listing import describe, has_instance, last_run, show
from dataflow_runtime.workflows.discovery import InstalledWorkflow

__all__ = ["find", "fresh_listing", "router"]

router = APIRouter(prefix="/workflows", tags=["workflows"])

_LIST = TypeAdapter(list[Workflow])


class Listing:
    """The installed workflows, by name and as listed."""

    def __init__(self, installed: list[InstalledWorkflow]) -> None:
        self.by_name: dict[str, InstalledWorkflow] = {}
        self.entries = []
        for workflow in installed:
            self.by_name.setdefault(workflow.name, workflow)
            entry = jsonable(describe(workflow).to_json())
            if entry["error"]:
                entry["error"] = public(entry["error"], workflow.directory)
            self.entries.append(Workflow.model_validate(entry))


def _inputs(workflow: InstalledWorkflow) -> Iterable[Path]:
    """Yield the files beside its module that a workflow's schedule may come from."""
    if workflow.config_file is not None:
        yield workflow.config_file
        if env := os.environ.get("DATAFLOW_ENV"):
            yield workflow.config_file.with_name(f"config.{env}.yaml")


def fresh_listing() -> Fresh[Listing]:
    """Return the listing of a server."""
    return Fresh(Listing, _inputs)


async def find(request: Request, name: str) -> InstalledWorkflow:
    """Return the installed workflow of this name.

    Raises:
        UnknownWorkflowError: There is none.
    """
    by_name: dict[str, InstalledWorkflow] = (await request.app.state.workflows.get()).by_name
    if name not in by_name:
        raise UnknownWorkflowError(name, by_name)
    return by_name[name]


@router.get(
    "/",
    response_model=list[Workflow],
    summary="List the installed workflows",
    responses=responses(),
)
async def list_workflows(
    request: Request,
    tag: Annotated[str | None, Query(description="Only workflows with this tag.")] = None,
    owner: Annotated[str | None, Query(description="Only workflows of this owner.")] = None,
    status: Annotated[
        str | None,
        Query(description="Only workflows with this status.", pattern="^(ok|broken|unknown)$"),
    ] = None,
    limit: Limit = 1_000,
    offset: Offset = 0,
) -> Any:
    """Reads what the installed packages say of themselves, and imports none of them."""
    fresh: Fresh[Listing] = request.app.state.workflows
    listing = await fresh.get()
    found = [
        entry
        for entry in listing.entries
        if (tag is None or tag in entry.tags)
        and (owner is None or owner == entry.owner)
        and (status is None or status == entry.status)
    ]
    query = {"tag": tag, "owner": owner, "status": status}
    answer = page("/workflows/", _LIST, found, limit, offset, query)
    return request.app.state.answers.keep(request, answer, lambda: fresh.is_current(listing))


@router.get(
    "/{name}", response_model=WorkflowDetails, summary="Show one workflow", responses=responses(404)
)
async def get_workflow(request: Request, name: str, instance: Instance) -> Any:
    """Metadata, parts, a summary of its config, its dbt models, its last run."""
    workflow = await find(request, name)
    return await run_in_threadpool(_details, workflow, instance)


def _details(workflow: InstalledWorkflow, instance: InstanceHolder) -> dict[str, Any]:
    found: dict[str, Any] = jsonable(show(workflow))
    folder = workflow.directory
    if found["error"]:
        found["error"] = public(found["error"], folder)
    if found["config"] and "error" in found["config"]:
        found["config"]["error"] = public(found["config"]["error"], folder)
    paths = {part: public(path, folder) if path else None for part, path in found["paths"].items()}
    # Dagster is imported only where it has something to tell.
    last = last_run(instance.get(), workflow.name) if has_instance() else None
    return found | {"paths": paths, "last_run": last}
