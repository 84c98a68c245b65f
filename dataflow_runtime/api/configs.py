"""``/configs``: what the workflows are configured with, and whether it is valid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from dataflow_runtime.api.answers import Answer, Limit, Offset, page
from dataflow_runtime.api.fresh import Fresh
from dataflow_runtime.api.models import CheckedConfig, Config, ConfigFile
from dataflow_runtime.api.problems import ApiError, invalid_config, items, public, responses
from dataflow_runtime.api.workflows import find
from dataflow_runtime.config import ConfigError, WorkflowConfig, config_manager
from dataflow_runtime.config.secrets import lent_secrets
from dataflow_runtime.errors import UsageError
from dataflow_runtime.workflows.discovery import InstalledWorkflow

__all__ = ["fresh_list", "router"]

router = APIRouter(prefix="/configs", tags=["configs"])

Env = Annotated[
    str | None,
    Query(
        description="Overlay: config.<env>.yaml; by default the server's DATAFLOW_ENV.",
        pattern="^[A-Za-z0-9_-]+$",
    ),
]

_LIST, _CONFIG = TypeAdapter(list[ConfigFile]), TypeAdapter(Config)
_YAML = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")


def _list(installed: list[InstalledWorkflow]) -> list[ConfigFile]:
    names = {workflow.name for workflow in installed}
    return [
        ConfigFile(
            name=config.name,
            package=config.package,
            file=config.file.name if config.file else None,
            environments=list(config.environments),
            exists=config.exists,
        )
        for config in config_manager.list_configs()
        if config.name in names
    ]


def _inputs(workflow: InstalledWorkflow) -> Iterable[Path]:
    """Yield the folder in which overlays come and go."""
    if workflow.directory is not None:
        yield workflow.directory


def fresh_list() -> Fresh[list[ConfigFile]]:
    """Return the list of a server's configurations."""
    return Fresh(_list, _inputs)


@router.get(
    "/", response_model=list[ConfigFile], summary="List the configurations", responses=responses()
)
async def list_configs(request: Request, limit: Limit = 1_000, offset: Offset = 0) -> Any:
    """Where each workflow's configuration stands, and its overlays; reads none of them."""
    fresh: Fresh[list[ConfigFile]] = request.app.state.configs
    files = await fresh.get()
    answer = page("/configs/", _LIST, files, limit, offset)
    return request.app.state.answers.keep(request, answer, lambda: fresh.is_current(files))


@router.get(
    "/{name}",
    response_model=Config,
    summary="Show what a workflow runs with",
    responses=responses(404, 409),
)
async def get_config(
    request: Request,
    name: str,
    env: Env = None,
    origins: Annotated[bool, Query(description="Say where each value comes from.")] = False,
) -> Any:
    """Every value of every layer, secrets masked. A configuration that is not valid is an error that lists why."""
    config, answer = await run_in_threadpool(_show, await find(request, name), env, origins)

    def is_current() -> bool:
        return config_manager.cached_config(name, env=env) is config

    return request.app.state.answers.keep(request, answer, is_current)


def _show(
    workflow: InstalledWorkflow, env: str | None, origins: bool
) -> tuple[WorkflowConfig, Answer]:
    try:
        config = config_manager.load_config(workflow.name, env=env)
        effective = config_manager.show(workflow.name, env=env)
    except ConfigError as error:
        raise invalid_config(error.problems, workflow.directory) from None
    except UsageError as error:
        raise ApiError("unknown-environment", error.message, hint=error.hint) from None
    shown = {
        key: asdict(origin)
        | {"file": public(origin.file, workflow.directory) if origin.file else None}
        for key, origin in effective.origins.items()
    }
    answer = {
        "name": effective.name,
        "env": effective.env,
        "config": effective.config,
        "origins": shown if origins else None,
    }
    return config, Answer(_CONFIG, _CONFIG.validate_python(answer))


@router.post(
    "/{name}/validate",
    response_model=CheckedConfig,
    summary="Validate a configuration",
    responses=responses(404, 413, 415, 422),
    openapi_extra={
        "requestBody": {
            "description": "A candidate for config.yaml. Without a body the stored configuration is validated.",
            "required": False,
            "content": {
                "application/json": {"schema": {}, "example": {"source": {"type": "mock"}}},
                "application/yaml": {"schema": {}, "example": {"source": {"type": "mock"}}},
            },
        }
    },
)
async def validate_config(request: Request, name: str, env: Env = None) -> CheckedConfig:
    """Whether valid or not, the answer is 200; `errors` are those of `dataflow-runtime config validate`."""
    workflow = await find(request, name)
    candidate = _candidate(request.headers.get("content-type", ""), await request.body())
    return await run_in_threadpool(_check, workflow, env, candidate)


def _check(workflow: InstalledWorkflow, env: str | None, candidate: str | None) -> CheckedConfig:
    try:
        with lent_secrets():
            checked = config_manager.check(workflow.name, env=env, text=candidate)
            return CheckedConfig(
                name=checked.name,
                valid=checked.valid,
                errors=items(checked.problems, workflow.directory),
                warnings=items(checked.warnings, workflow.directory),
            )
    except UsageError as error:
        raise ApiError("unknown-environment", error.message, hint=error.hint) from None


def _candidate(content_type: str, body: bytes) -> str | None:
    """Return the text of a candidate, None where there is no body."""
    if not body:
        return None
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and media_type not in _YAML:
        raise ApiError(
            "unsupported-media-type",
            f"expected application/json or {_YAML[0]}, found {media_type or 'none'}",
        )
    try:
        text = body.decode("utf-8-sig")
        if media_type == "application/json":
            json.loads(text)
            text = _as_yaml(text)
    except UnicodeDecodeError:
        raise ApiError("invalid-request", "the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ApiError(
            "invalid-request",
            f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})",
        ) from None
    except RecursionError:
        raise ApiError("invalid-request", "the body is nested too deeply") from None
    return text


_ESCAPE = re.compile(r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|.)")


def _as_yaml(text: str) -> str:
    """Return JSON so that a YAML parser reads the same from it, everything in its place."""

    def whole(escape: re.Match[str]) -> str:
        if escape[1] is None:
            return escape[0]
        pair = bytes.fromhex(escape[1] + escape[2]).decode("utf-16-be")
        return f"\\U{ord(pair):08X}"

    # JSON has tabs between values only; YAML has none there, and writes characters beyond 16 bits as one.
    return _ESCAPE.sub(whole, text.replace("\t", " "))
