"""What every request passes: who may ask, from where, how much; headers, request ids, a line in the log for each."""

from __future__ import annotations

import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dataflow_runtime.api.problems import problem
from dataflow_runtime.config import mask
from dataflow_runtime.config.tree import MAX_BYTES

__all__ = ["Gate", "JsonFormatter"]

_log = logging.getLogger("dataflow_runtime.api")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_OPEN = "/health"
_TOO_LARGE = f"the body is larger than {MAX_BYTES:,} bytes"


class Gate:
    """ASGI middleware in front of the routes.

    Args:
        app: What stands behind it.
        token: Bearer token that every request but ``/health`` needs, None where none is asked for.
        hosts: Names by which a browser may call the server, None for any: a page of another site whose name is made to
            lead to this machine (DNS rebinding) calls it by its own.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: Collection[str] | None) -> None:
        self._app = app
        self._token = token.encode() if token is not None else None
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        status = 0
        left = MAX_BYTES

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [*_HEADERS, (b"x-request-id", request_id)]
                if not any(name == b"cache-control" for name, _ in message["headers"]):
                    added.append((b"cache-control", b"no-store"))
                message["headers"] = [*message["headers"], *added]
            await send(message)

        async def body() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, _TOO_LARGE)
            return message

        try:
            refusal = self._refusal(scope, headers)
            await (refusal(scope, receive, answer) if refusal else self._app(scope, body, answer))
        except Exception as error:
            _log.error(
                mask(f"{type(error).__name__}: {error}"),
                exc_info=error,
                extra={"request_id": request_id.decode()},
            )
            if status:
                raise  # too late for another answer
            await problem("internal", "the server failed; its log says why")(scope, receive, answer)
        finally:
            _log.info(
                "request",
                extra={
                    "request_id": request_id.decode(),
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "milliseconds": round((time.perf_counter() - start) * 1000, 2),
                    "client": scope["client"][0] if scope.get("client") else None,
                },
            )

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
        host = headers.get(b"host", b"").decode("latin-1")
        if self._hosts is not None and _hostname(host) not in self._hosts:
            hint = "call it by its address; a server for others binds to another address, with DATAFLOW_API_TOKEN"
            return problem("untrusted-host", "the Host header does not name this server", hint=hint)
        if self._token is not None and scope["path"] != _OPEN and not self._authorized(headers):
            detail = "expected the header Authorization: Bearer <token>, with the server's DATAFLOW_API_TOKEN"
            return problem("unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
        origin = headers.get(b"origin", b"").decode("latin-1")
        if (
            scope["method"] not in ("GET", "HEAD", "OPTIONS")
            and origin
            and origin.partition("://")[2] != host
        ):
            # A page of another site may send some requests without asking; it would only not see the answer.
            return problem("cross-origin", "a page of another origin may not change anything here")
        try:
            length = int(headers.get(b"content-length", b"0"))
        except ValueError:
            return problem("invalid-request", "the Content-Length header is not a number")
        return problem("too-large", _TOO_LARGE) if length > MAX_BYTES else None

    def _authorized(self, headers: dict[bytes, bytes]) -> bool:
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        assert self._token is not None
        return hmac.compare_digest(token.strip(), self._token) and scheme.lower() == b"bearer"


def _hostname(host: str) -> str:
    """Return a Host header without its port, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, and what came with it."""

    _EXTRA = ("request_id", "method", "path", "status", "milliseconds", "client")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {key: getattr(record, key) for key in self._EXTRA if hasattr(record, key)}
        if record.exc_info:
            line["traceback"] = mask(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)
