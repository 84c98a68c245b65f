"""What every request passes: who may ask, and how much; headers, request ids, a line of the log."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dataflow_runtime.api.errors import ApiError, respond
from dataflow_runtime.config import mask
from dataflow_runtime.config.tree import MAX_BYTES

__all__ = ["JsonFormatter", "Requests"]

BODY_SECONDS = 30.0  # for the body of a request to arrive

_log = logging.getLogger("dataflow_runtime.api")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_TOO_LARGE = f"the body is larger than {MAX_BYTES:,} bytes"


class Requests:
    """ASGI middleware in front of the routes.

    Starlette's own middleware answers refusals as plain text, not as problem documents.

    Args:
        app: The routes.
        token: Bearer token of every request but ``/health``, None for no token.
        hosts: Names by which a browser may call the server, None for any. A page of another site
            calls it by the site's name, even if that name leads here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: Collection[str] | None) -> None:
        self._app, self._token, self._hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        answer = _Answer(request_id, send)
        # The server leaves out the body.
        method = scope["method"]
        get = {**scope, "method": "GET" if method == "HEAD" else method}
        try:
            error = self._refusal(method, scope["path"], headers)
            if error is None:
                await self._app(get, _limited(receive), answer)
            else:
                challenge = {"WWW-Authenticate": "Bearer"} if error.kind == "unauthorized" else {}
                await respond(error, challenge)(get, receive, answer)
        except asyncio.CancelledError:
            await answer.fail(ApiError("busy", "the server is stopping"), get, receive)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            _log.error(text, exc_info=error, extra={"request_id": request_id})
            failure = ApiError("internal", "the server failed; its log says why")
            await answer.fail(failure, get, receive)
        finally:
            found = {
                "request_id": request_id,
                "method": method,
                "path": scope["path"],
                "status": answer.status,
                "milliseconds": round((time.perf_counter() - began) * 1000, 2),
                "client": scope["client"][0] if scope.get("client") else None,
            }
            _log.info("request", extra=found)

    def _refusal(self, method: str, path: str, headers: Headers) -> ApiError | None:
        host = headers.get("host", "")
        if self._hosts is not None and _hostname(host) not in self._hosts:
            hint = (
                "call it by its address; to serve others, bind to another one and set"
                " DATAFLOW_API_TOKEN"
            )
            return ApiError("untrusted-host", "the Host header does not name this server", hint)
        if self._token is not None and path != "/health" and not self._has_token(headers):
            hint = "send the header Authorization: Bearer <token>, with the DATAFLOW_API_TOKEN"
            return ApiError("unauthorized", "no token, or not the token of this server", hint)
        origin = headers.get("origin")
        is_read = method in ("GET", "HEAD", "OPTIONS")
        if origin and not is_read and origin.partition("://")[2] != host:
            # A browser sends some requests of other pages without asking.
            return ApiError("cross-origin", "a page of another origin may not change anything here")
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return ApiError("invalid-request", "the Content-Length header is not a number")
        if len(length) > 20 or int(length) > MAX_BYTES:
            return ApiError("too-large", _TOO_LARGE)
        return None

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        assert self._token is not None
        same = hmac.compare_digest(token.strip().encode(), self._token.encode())
        return same and scheme.lower() == "bearer"


class _Answer:
    """Sends a response of one piece, with the headers of all."""

    def __init__(self, request_id: str, send: Send) -> None:
        self._request_id, self._send = request_id, send
        self._start: Message = {}
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        headers = MutableHeaders(raw=[*self._start["headers"]])
        headers.update({**_HEADERS, "x-request-id": self._request_id, "cache-control": "no-store"})
        self.status = self._start["status"]
        await self._send({**self._start, "headers": headers.raw})
        await self._send(message)

    async def fail(self, error: ApiError, scope: Scope, receive: Receive) -> None:
        """Send an error, unless it is too late."""
        if not self.status:
            await respond(error)(scope, receive, self)


def _limited(receive: Receive) -> Receive:
    """Limit the size of a body, and the time that it may take to arrive."""
    left = MAX_BYTES
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS

    async def limited() -> Message:
        nonlocal left
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            text = f"the body did not arrive in {BODY_SECONDS:.0f} seconds"
            raise HTTPException(408, text) from None
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return limited


def _hostname(host: str) -> str:
    """Return the name of a Host header, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


class JsonFormatter(logging.Formatter):
    """One JSON object a line, secrets masked."""

    _MORE = ("request_id", "method", "path", "status", "milliseconds", "client")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": mask(record.getMessage()),
        }
        line |= {key: getattr(record, key) for key in self._MORE if hasattr(record, key)}
        if record.exc_info:
            line["traceback"] = mask(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)
