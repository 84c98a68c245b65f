"""The routes: workflows, their configurations, their runs."""

from __future__ import annotations

import json
import re
from asyncio import wrap_future
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from anyio import from_thread
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from dataflow_runtime.api.errors import ApiError, error_items, public, responses
from dataflow_runtime.api.models import Config, EnvName, Run, RunRequest, Validation
from dataflow_runtime.api.state import State
from dataflow_runtime.config import ConfigFile, config_manager, refused_overrides
from dataflow_runtime.config.secrets import temporary_secrets
from dataflow_runtime.orchestration.listing import ListedWorkflow, has_instance, last_run, show
from dataflow_runtime.workflows.discovery import InstalledWorkflow

__all__ = ["router"]

T = TypeVar("T")

router = APIRouter()


async def _state(request: Request) -> State:
    state: State = request.app.state.server
    return state


async def _body(request: Request) -> bytes:
    return await request.body()


Server = Annotated[State, Depends(_state)]
Body = Annotated[bytes, Depends(_body)]
Limit = Annotated[int, Query(ge=1, le=1_000, description="Most entries to return.")]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="Entries to leave out before them.")]
Status = Literal["ok", "broken", "unknown"]
Env = Annotated[EnvName | None, Query(description="Overlay; by default that of DATAFLOW_ENV.")]
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]

_YAML = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
_ANY = {"schema": {}, "example": {"source": {"type": "mock"}}}
_CANDIDATE = {"required": False, "content": {"application/json": _ANY, "application/yaml": _ANY}}
_LOCATION = {"Location": {"description": "Path of the run.", "schema": {"type": "string"}}}
_LAUNCHED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The run of this key", "headers": _LOCATION, "model": Run},
    202: {"description": "A new run is recorded", "headers": _LOCATION},
}


@router.get("/workflows/", tags=["workflows"], responses=responses())
async def list_workflows(
    request: Request,
    response: Response,
    server: Server,
    tag: str | None = None,
    owner: str | None = None,
    status: Status | None = None,
    limit: Limit = 1_000,
    offset: Offset = 0,
) -> list[ListedWorkflow]:
    """The installed workflows, of a tag, an owner, a status. Imports none of them."""
    found = [
        entry
        for entry in (await server.installed()).listed
        if tag in (None, *entry.tags)
        and owner in (None, entry.owner)
        and status in (None, entry.status)
    ]
    return _page(request, response, found, limit, offset)


@router.get("/workflows/{name}", tags=["workflows"], responses=responses(404))
def get_workflow(server: Server, name: str) -> dict[str, Any]:
    """Metadata, parts, a summary of the config, dbt models, the last run."""
    workflow = from_thread.run(server.workflow, name)
    details: dict[str, Any] = public(show(workflow), workflow.directory)
    # Without recorded runs Dagster is not even imported.
    last = last_run(server.launcher().instance, workflow.name) if has_instance() else None
    return details | {"last_run": last}


@router.get("/configs/", tags=["configs"], responses=responses())
async def list_configs(
    request: Request, response: Response, server: Server, limit: Limit = 1_000, offset: Offset = 0
) -> list[ConfigFile]:
    """The file of each workflow's configuration, and its overlays. Reads none of them."""
    return _page(request, response, (await server.installed()).configs, limit, offset)


def _page(
    request: Request, response: Response, found: Sequence[T], limit: int, offset: int
) -> list[T]:
    """Return a page of a list; the headers get its whole length, and links to other pages."""
    response.headers["x-total-count"] = str(len(found))
    starts = {"prev": max(offset - limit, 0)} if offset else {}
    if offset + limit < len(found):
        starts["next"] = offset + limit
    links = []
    for relation, start in starts.items():
        url = request.url.include_query_params(limit=limit, offset=start)
        links.append(f'<{url.path}?{url.query}>; rel="{relation}"')
    if links:
        response.headers["link"] = ", ".join(links)
    return list(found[offset : offset + limit])


@router.get("/configs/{name}", tags=["configs"], responses=responses(404, 409))
def get_config(server: Server, name: str, env: Env = None, origins: bool = False) -> Config:
    """Every value of every layer, secrets masked; `origins` says where each comes from."""
    workflow = from_thread.run(server.workflow, name)
    found = config_manager.show(name, env=env)
    shown = {
        key: replace(origin, file=public(origin.file, workflow.directory))
        for key, origin in found.origins.items()
    }
    return Config(found.name, found.env, found.config, shown if origins else None)


@router.post(
    "/configs/{name}/validate",
    tags=["configs"],
    responses=responses(404, 413, 415, 422),
    openapi_extra={"requestBody": _CANDIDATE},
)
def validate_config(
    request: Request, server: Server, name: str, body: Body, env: Env = None
) -> Validation:
    """Checks the stored configuration, or a candidate for config.yaml in the body.

    In a candidate, variables are checked for syntax only; what they hold is not read.
    """
    workflow = from_thread.run(server.workflow, name)
    candidate = _candidate(request.headers.get("content-type", ""), body)
    with temporary_secrets():
        if candidate is None:
            checked = config_manager.check(name, env=env)
        else:
            checked = config_manager.validate_candidate(name, candidate, env=env)
        errors = error_items(checked.problems, workflow.directory)
        warnings = error_items(checked.warnings, workflow.directory)
    return Validation(checked.name, checked.valid, errors, warnings)


def _candidate(content_type: str, body: bytes) -> str | None:
    """Return the text of a candidate, None where there is no body."""
    if not body:
        return None
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in ("application/json", *_YAML):
        found = f"expected application/json or {_YAML[0]}, found {public(media_type) or 'none'}"
        raise ApiError("unsupported-media-type", found)
    try:
        text = body.decode("utf-8-sig")
        if media_type == "application/json":
            json.loads(text)
            text = _as_yaml(text)
    except RecursionError:
        raise ApiError("invalid-request", "the body is nested too deeply") from None
    except ValueError as error:
        raise ApiError(
            "invalid-request", f"the body cannot be read: {public(str(error))}"
        ) from None
    return text


_ESCAPE = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|.)")


def _as_yaml(text: str) -> str:
    """Return JSON so that a YAML parser reads the same from it, at the same places.

    YAML has no tabs between values, and one escape where JSON has a pair of surrogates.
    """

    def whole(escape: re.Match[str]) -> str:
        if escape[1] is None:
            return escape[0]
        pair = bytes.fromhex(escape[1] + escape[2]).decode("utf-16-be")
        return f"\\U{ord(pair):08X}"

    return _ESCAPE.sub(whole, text.replace("\t", " "))


@router.post(
    "/workflows/{name}/runs",
    tags=["runs"],
    status_code=202,
    responses=_LAUNCHED | responses(404, 409, 413, 415, 422, 503),
)
async def create_run(
    name: str, response: Response, server: Server, asked: RunRequest | None = None, key: Key = None
) -> Run:
    """Starts a run; answers when it is recorded, after the seconds that loading the workflow takes.

    The same request with the same idempotency key is the same run.
    """
    workflow = await server.workflow(name)
    run, new = await wrap_future(await run_in_threadpool(_submit, server, workflow, asked, key))
    response.status_code = 202 if new else 200
    response.headers["Location"] = f"/runs/{run.run_id}"
    return await run_in_threadpool(_report, server, run)


def _submit(
    server: State, workflow: InstalledWorkflow, asked: RunRequest | None, key: str | None
) -> Future[Any]:
    asked = asked or RunRequest.model_validate({})
    # Most mistakes are in the overrides: they are refused without a process, and without Dagster.
    with temporary_secrets():
        stored = config_manager.load_config(workflow.name, env=asked.env)
        not_allowed = refused_overrides(stored, asked.config)
        if not_allowed:
            detail = f"may not be overridden here: {public(', '.join(not_allowed[:20]))}"
            hint = "`api.overridable` of the workflow's configuration lists what may be"
            raise ApiError("not-overridable", detail, hint)
        config_manager.load_config(workflow.name, env=asked.env, overrides=asked.config)
    return server.launcher().submit(workflow.name, asked.model_dump(), key)


@router.get("/runs/{run_id}", tags=["runs"], responses=responses(404))
def get_run(server: Server, run_id: UUID) -> Run:
    """What the run did, or has done so far, whoever started it."""
    return _report(server, _find(server, run_id))


@router.delete("/runs/{run_id}", tags=["runs"], status_code=202, responses=responses(404, 409))
def cancel_run(server: Server, run_id: UUID) -> Run:
    """Interrupts the run, which then ends as `canceled`; one that is over is a conflict."""
    from dataflow_runtime.orchestration.launch import cancel

    cancel(server.launcher().instance, _find(server, run_id))
    return _report(server, _find(server, run_id))


def _find(server: State, run_id: UUID) -> Any:
    from dataflow_runtime.orchestration.launch import current

    run = current(server.launcher().instance, str(run_id))
    if run is None:
        raise ApiError("unknown-run", f"no run {run_id} is recorded")
    return run


def _report(server: State, run: Any) -> Run:
    from dataflow_runtime.orchestration.report import report, workflow_of

    folder = from_thread.run(server.folder, workflow_of(run))
    return Run(**public(report(server.launcher().instance, run).to_json(), folder))
