"""The app: routes, the middleware in front of them, and the document that describes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from dataflow_runtime import __version__
from dataflow_runtime.api.errors import MEDIA_TYPE, add_handlers, responses
from dataflow_runtime.api.middleware import Requests
from dataflow_runtime.api.routes import router
from dataflow_runtime.api.state import Kept, State
from dataflow_runtime.orchestration.listing import has_instance

__all__ = ["LOOPBACK", "create_app"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_DESCRIPTION = """\
The installed data workflows: what they are, how they are configured, and their runs.

Every error is a problem document (RFC 9457). Secrets are never in an answer, and of paths only
those inside a workflow.
"""


class _Api(FastAPI):
    """Documents errors with the media type that they have."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document; made once."""
        if self.openapi_schema is None:
            paths = super().openapi()["paths"].values()
            operations = [operation for path in paths for operation in path.values()]
            for operation in operations:
                for status, response in operation["responses"].items():
                    if not status.startswith("2"):
                        content = response["content"]
                        content[MEDIA_TYPE] = content.pop("application/json")
        return super().openapi()


def create_app(*, token: str | None = None, hosts: Collection[str] | None = LOOPBACK) -> FastAPI:
    """Return the API as an ASGI app, for uvicorn or a server of your own.

    Args:
        token: Bearer token that every request but ``GET /health`` needs; None asks for none.
        hosts: Names of the server, in small letters, without port; None for any.
    """
    server = State()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if has_instance():
            await run_in_threadpool(server.launcher)
        yield
        await run_in_threadpool(server.close)

    app = _Api(
        title="dataflow-runtime",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.server = server
    add_handlers(app)
    # `Requests` compares the token, for unknown paths as well; this documents it.
    bearer = HTTPBearer(scheme_name="token", auto_error=False)
    documented = [Security(bearer)] if token is not None else []
    app.include_router(router, dependencies=documented)

    @app.get("/health", tags=["server"], responses=responses())
    async def get_health() -> dict[str, str]:
        """Open to all, without a token."""
        return {"status": "ok", "version": __version__}

    app.add_middleware(Kept, state=server)
    app.add_middleware(Requests, token=token, hosts=hosts)
    return app
