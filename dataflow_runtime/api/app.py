"""The app: routes behind a gate, and the document that describes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.concurrency import run_in_threadpool

from dataflow_runtime import __version__
from dataflow_runtime.api import configs, models, runs, workflows
from dataflow_runtime.api.answers import Answers, Remembered
from dataflow_runtime.api.gate import Gate
from dataflow_runtime.api.instance import InstanceHolder
from dataflow_runtime.api.problems import add_handlers, responses

__all__ = ["LOOPBACK", "create_app"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_DESCRIPTION = """\
The installed data workflows: what they are, how they are configured, and their runs.

Every error is a problem document (RFC 9457). Secrets are never in an answer, and of paths only those inside a workflow.
"""


def create_app(*, token: str | None = None, hosts: Collection[str] | None = LOOPBACK) -> FastAPI:
    """Return the API as an ASGI app, for uvicorn or a server of your own.

    Args:
        token: Bearer token that every request but ``GET /health`` needs; None asks for none.
        hosts: Names by which the server may be called, in small letters, without port; None for any.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(app.state.instance.close)

    app = FastAPI(
        title="dataflow-runtime",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.instance = InstanceHolder()
    app.state.workflows = workflows.fresh_listing()
    app.state.configs = configs.fresh_list()
    add_handlers(app)
    for router in (workflows.router, configs.router, runs.router):
        app.include_router(router)

    @app.get(
        "/health", tags=["server"], summary="Whether the server answers", responses=responses()
    )
    async def get_health() -> models.Health:
        """Open to all, without a token."""
        return models.Health(status="ok", version=__version__)

    app.state.answers = Answers()
    app.add_middleware(Remembered, answers=app.state.answers)
    app.add_middleware(Gate, token=token, hosts=hosts)
    app.openapi = lambda: _document(app, secured=token is not None)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI, *, secured: bool) -> dict[str, Any]:
    """Return the OpenAPI document; made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        components = document["components"]
        schema = models.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        components["schemas"] |= schema.pop("$defs", {}) | {"Problem": schema}
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        for name, found in components["schemas"].items():
            if "examples" in found:
                # FastAPI leaves what is null out of them.
                found["examples"] = getattr(models, name).model_json_schema()["examples"]
        for path, operations in document["paths"].items():
            for operation in operations.values():
                # FastAPI's own description of its own error, which the handlers replace.
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    operation["responses"]["422"] = responses(422)["422"]
                if secured and path != "/health":
                    operation["security"] = [{"token": []}]
        if secured:
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = document
    return app.openapi_schema
