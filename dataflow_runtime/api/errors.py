"""Errors as RFC 9457 problem documents, and texts that clients may see."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from dataflow_runtime import errors
from dataflow_runtime.api.models import ErrorDocument, ErrorItem
from dataflow_runtime.config import ConfigError, ConfigProblem, mask
from dataflow_runtime.config.problems import display_path
from dataflow_runtime.settings import get_settings

__all__ = ["KINDS", "ApiError", "add_handlers", "error_items", "public", "respond", "responses"]

MEDIA_TYPE = "application/problem+json"
MOST_ITEMS = 100

# Kind of error to status and title. Clients script against the kinds.
KINDS: Mapping[str, tuple[int, str]] = {
    "untrusted-host": (400, "Untrusted host"),
    "unauthorized": (401, "Unauthorized"),
    "cross-origin": (403, "Cross-origin request"),
    "not-found": (404, "Not found"),
    "unknown-workflow": (404, "Unknown workflow"),
    "unknown-environment": (404, "Unknown environment"),
    "unknown-run": (404, "Unknown run"),
    "method-not-allowed": (405, "Method not allowed"),
    "timeout": (408, "Request took too long"),
    "invalid-config": (409, "Configuration is not valid"),
    "not-overridable": (409, "Override is not allowed"),
    "refused": (409, "Refused"),
    "conflict": (409, "Conflict"),
    "too-large": (413, "Request is too large"),
    "unsupported-media-type": (415, "Unsupported media type"),
    "invalid-request": (422, "Request is not valid"),
    "internal": (500, "Internal error"),
    "busy": (503, "Server is busy"),
}
_KIND_OF_STATUS = {404: "not-found", 405: "method-not-allowed", 408: "timeout", 413: "too-large"}
_KIND_OF_ERROR: Mapping[type[errors.DataflowError], str] = {
    errors.UnknownWorkflowError: "unknown-workflow",
    errors.UsageError: "unknown-environment",
    errors.ConflictError: "conflict",
    errors.BusyError: "busy",
    errors.DataflowError: "refused",
}


class ApiError(Exception):
    """An error of a kind of `KINDS`. Its texts go to the client as they are: see `public`."""

    def __init__(
        self, kind: str, detail: str, hint: str | None = None, items: Iterable[ErrorItem] = ()
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.hint, self.items = kind, detail, hint, list(items)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documented errors of an operation: those of its own, and any other."""
    texts: dict[int | str, str] = {status: HTTPStatus(status).phrase for status in statuses}
    texts["default"] = "Any other error"
    return {key: {"description": text, "model": ErrorDocument} for key, text in texts.items()}


def respond(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as a problem document."""
    status, title = KINDS[error.kind]
    kind = f"urn:dataflow:problem:{error.kind}"
    document = ErrorDocument(kind, title, status, error.detail, error.hint, error.items)
    headers = headers or ({"Retry-After": "10"} if status == 503 else {})
    return JSONResponse(asdict(document), status, headers, MEDIA_TYPE)


def error_items(problems: Iterable[ConfigProblem], folder: Path | None) -> list[ErrorItem]:
    """Return the first problems of a configuration, files relative to the workflow's folder."""
    found = list(problems)
    items = [ErrorItem(**public(problem.as_dict(), folder)) for problem in found[:MOST_ITEMS]]
    if len(found) > MOST_ITEMS:
        items.append(ErrorItem(path="", message=f"and {len(found) - MOST_ITEMS} more"))
    return items


def add_handlers(app: FastAPI) -> None:
    """Make every error of the app a problem document."""

    async def api_error(_: Request, error: Any) -> Response:
        return respond(error)

    async def http_error(request: Request, error: Any) -> Response:
        kind = _KIND_OF_STATUS.get(error.status_code, "invalid-request")
        headers = dict(error.headers or {})
        if kind == "method-not-allowed":
            # Starlette names the methods of the first route of a path only.
            for template, operations in app.openapi()["paths"].items():
                if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), request.url.path):
                    headers["Allow"] = ", ".join(operations).upper()
        return respond(ApiError(kind, error.detail), headers)

    async def invalid_request(_request: Request, error: Any) -> Response:
        # Without the values: a secret may be among them.
        items = [
            ErrorItem(path=public(".".join(map(str, found["loc"]))), message=found["msg"])
            for found in error.errors()[:MOST_ITEMS]
        ]
        detail = "the request is not of the documented form"
        return respond(ApiError("invalid-request", detail, items=items))

    async def dataflow_error(request: Request, error: Any) -> Response:
        folder = await request.app.state.server.folder(request.path_params.get("name"))
        if isinstance(error, ConfigError):
            items = error_items(error.problems, folder)
            detail = "the configuration cannot be used"
            return respond(ApiError("invalid-config", detail, items=items))
        kind = next(kind for known, kind in _KIND_OF_ERROR.items() if isinstance(error, known))
        detail, hint = public(error.message, folder), public(error.hint, folder)
        return respond(ApiError(kind, detail, hint))

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(errors.DataflowError, dataflow_error)


def public(value: Any, folder: Path | None = None) -> Any:
    """Return a value as clients may see it, in types of JSON.

    Secrets are masked, paths are relative to the workflow's folder, other folders are hidden.
    """
    match value:
        case str():
            return _public_text(value, folder)
        case dict():
            return {_public_text(str(key), folder): public(value[key], folder) for key in value}
        case tuple():
            return tuple(public(child, folder) for child in value)
        case list() | set():
            return [public(child, folder) for child in value]
        case float() if not math.isfinite(value):
            return str(value)
        case None | int() | float():
            return value
        case _:
            return str(value)


_SEGMENT = r"[^\s/'\"`:;,<>()\[\]{}]"
_ABSOLUTE = re.compile(rf"(?<![\w/.:~$}}@…-])/(?:{_SEGMENT}+/)+(?={_SEGMENT}|\b|$|\s|['\"])")


def _public_text(text: str, folder: Path | None) -> str:
    # JSON of clients, and sources of workflows, may hold half a character.
    text = mask(text.encode("utf-8", "replace").decode())
    if "/" not in text:
        return text
    if folder is not None:
        for name in (str(folder), display_path(folder)):
            text = text.replace(f"{name}/", "").replace(name, ".")
    text = text.replace(str(get_settings().home), "$DATAFLOW_HOME")
    for root in _roots(tuple(sys.path)):
        text = text.replace(root, "…/")
    return _ABSOLUTE.sub("…/", text)


@lru_cache(8)
def _roots(path: tuple[str, ...]) -> list[str]:
    """Return this machine's folders that the pattern misses if there are spaces in them."""
    entries = [entry for entry in (*path, sys.prefix, Path.cwd(), Path.home()) if entry]
    roots = {f"{Path(entry)}/" for entry in map(str, entries)} - {"//"}
    return sorted(roots, key=len, reverse=True)
