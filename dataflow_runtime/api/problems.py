"""Errors as RFC 9457 problem documents: what the commands say on stderr, without paths that are nobody's business."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from dataflow_runtime.api.models import Problem, ProblemItem
from dataflow_runtime.config import ConfigProblem, mask
from dataflow_runtime.config.problems import display_path
from dataflow_runtime.errors import DataflowError, UnknownWorkflowError
from dataflow_runtime.settings import get_settings

__all__ = [
    "MEDIA_TYPE",
    "ApiError",
    "add_handlers",
    "invalid_config",
    "items",
    "problem",
    "public",
    "responses",
    "text",
]

MEDIA_TYPE = "application/problem+json"

# Kind of problem to status and title. Clients script against the kinds.
KINDS: Mapping[str, tuple[int, str]] = {
    "untrusted-host": (400, "Untrusted host"),
    "unauthorized": (401, "Unauthorized"),
    "cross-origin": (403, "Cross-origin request"),
    "not-found": (404, "Not found"),
    "unknown-workflow": (404, "Unknown workflow"),
    "unknown-environment": (404, "Unknown environment"),
    "unknown-run": (404, "Unknown run"),
    "method-not-allowed": (405, "Method not allowed"),
    "invalid-config": (409, "Configuration is not valid"),
    "refused": (409, "Refused"),
    "conflict": (409, "Conflict"),
    "too-large": (413, "Request is too large"),
    "unsupported-media-type": (415, "Unsupported media type"),
    "invalid-request": (422, "Request is not valid"),
    "internal": (500, "Internal error"),
    "busy": (503, "Too many runs wait"),
}
_OF_STATUS = {
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors of an operation for the document: those of its own, and what any request may meet."""
    described = {
        str(status): ", ".join(t for s, t in KINDS.values() if s == status) for status in statuses
    }
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        **{status: {"description": text, "content": content} for status, text in described.items()},
        "default": {"description": "Any other error", "content": content},
    }


class ApiError(Exception):
    """An error of a kind of `KINDS`, raised by a route or by the gate before it."""

    def __init__(
        self, kind: str, detail: str, *, hint: str | None = None, errors: Iterable[ProblemItem] = ()
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.hint, self.errors = kind, detail, hint, list(errors)


def problem(
    kind: str,
    detail: str,
    *,
    hint: str | None = None,
    errors: Iterable[ProblemItem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem document; secrets and paths of this machine in its texts are hidden."""
    status, title = KINDS[kind]
    document = Problem(
        type=f"urn:dataflow:problem:{kind}",
        title=title,
        status=status,
        detail=public(detail),
        hint=public(hint) if hint else None,
        errors=list(errors),
    )
    return Response(document.model_dump_json(), status, headers, MEDIA_TYPE)


def items(problems: Iterable[ConfigProblem], folder: Path | None) -> list[ProblemItem]:
    """Return problems of a configuration, files relative to the workflow's folder."""
    return [
        ProblemItem(
            path=text(found.path),
            message=public(found.message, folder),
            file=public(found.file, folder) if found.file else None,
            line=found.line,
            column=found.column,
            hint=public(found.hint, folder) if found.hint else None,
        )
        for found in problems
    ]


def add_handlers(app: FastAPI) -> None:
    """Make every error of the app a problem document."""

    async def api_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return problem(error.kind, error.detail, hint=error.hint, errors=error.errors)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = _OF_STATUS.get(error.status_code, "invalid-request")
        headers = dict(error.headers or {})
        if error.status_code == 405:
            # Starlette names the methods of the first route of a path only.
            headers["Allow"] = ", ".join(_methods(app, request.url.path))
        return problem(kind, error.detail, headers=headers)

    async def invalid_request(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # Not the values: a secret may be among them.
        errors = [
            ProblemItem(
                path=text(".".join(str(part) for part in found["loc"])),
                message=found["msg"],
                file=None,
                line=None,
                column=None,
                hint=None,
            )
            for found in error.errors()
        ]
        return problem(
            "invalid-request", "the request is not of the documented form", errors=errors
        )

    async def dataflow_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, DataflowError)
        if isinstance(error, UnknownWorkflowError):
            return problem("unknown-workflow", error.message, hint=error.hint)
        return problem("refused", error.message, hint=error.hint)

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(DataflowError, dataflow_error)


def _methods(app: FastAPI, path: str) -> list[str]:
    """Return the methods that the document has for a path."""
    return [
        method.upper()
        for template, operations in app.openapi()["paths"].items()
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path)
        for method in operations
    ]


def invalid_config(problems: Iterable[ConfigProblem], folder: Path | None) -> ApiError:
    """Return the error of a configuration that cannot be used."""
    return ApiError(
        "invalid-config", "the configuration cannot be used", errors=items(problems, folder)
    )


def text(value: str) -> str:
    """Return `value` as text that can be encoded: JSON may hold half a character."""
    return value.encode("utf-8", "replace").decode()


def jsonable(value: Any) -> Any:
    """Return a literal of Python source as a value that JSON has."""
    match value:
        case str():
            return text(value)
        case dict():
            return {text(str(key)): jsonable(child) for key, child in value.items()}
        case list() | tuple() | set():
            return [jsonable(child) for child in value]
        case float() if not math.isfinite(value):
            return str(value)
        case None | int() | float():
            return value
        case _:
            return str(value)


_SEGMENT = r"[^\s/'\"`:;,<>()\[\]{}]"
_ABSOLUTE = re.compile(rf"(?<![\w/.:~$}}@…-])/(?:{_SEGMENT}+/)+(?={_SEGMENT}|\b|$|\s|['\"])")


def public(value: str, folder: Path | None = None) -> str:
    """Return a text for others to read: paths relative to the workflow's `folder`, no other folder, no secret."""
    value = mask(text(value))
    if "/" not in value:
        return value
    if folder is not None:
        for name in (str(folder), display_path(folder)):
            value = value.replace(f"{name}/", "").replace(name, ".")
    value = value.replace(str(get_settings().home), "$DATAFLOW_HOME")
    for root in _roots(tuple(sys.path)):
        value = value.replace(root, "…/")
    return _ABSOLUTE.sub("…/", value)


@lru_cache(8)
def _roots(path: tuple[str, ...]) -> list[str]:
    """Return folders of this machine that a pattern could not tell from other text, if there are spaces in them."""
    roots = {
        str(Path(entry))
        for entry in (*path, sys.prefix, str(Path.cwd()), str(Path.home()))
        if entry
    }
    return sorted((f"{root}/" for root in roots if root != "/"), key=len, reverse=True)
