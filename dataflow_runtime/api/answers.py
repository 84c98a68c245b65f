"""Answers that are the same until what they are made of changes: bytes with an ETag, given again without being made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query, Request
from pydantic import TypeAdapter
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Answer", "Answers", "Limit", "Offset", "Remembered", "page"]

Limit = Annotated[int, Query(ge=1, le=1_000, description="Most entries to return.")]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="Entries to leave out before them.")]

_MOST = 500


class Answer(Response):
    """A JSON answer that can be given again and again, with an ETag: 304 to whoever has it already."""

    def __init__(
        self, adapter: TypeAdapter[Any], value: Any, headers: Mapping[str, str] | None = None
    ) -> None:
        body = adapter.dump_json(value)
        self._tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        found = {"etag": self._tag, "cache-control": "private, no-cache", **(headers or {})}
        super().__init__(body, headers=found, media_type="application/json")
        self._not_modified = Response(status_code=304, headers=found)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        for name, tags in scope["headers"]:
            if name == b"if-none-match" and self._is_in(tags.decode("latin-1")):
                await self._not_modified(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def _is_in(self, tags: str) -> bool:
        found = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return "*" in found or self._tag in found


def page(
    path: str,
    adapter: TypeAdapter[Any],
    found: Sequence[Any],
    limit: int,
    offset: int,
    query: Mapping[str, str | None] | None = None,
) -> Answer:
    """Return a page of a list: with ``X-Total-Count``, and a ``Link`` to the pages around it."""
    pages = {"next": offset + limit} if offset + limit < len(found) else {}
    if offset > 0:
        pages["prev"] = max(offset - limit, 0)
    words = {key: value for key, value in (query or {}).items() if value is not None}
    links = [
        f'<{path}?{urlencode({**words, "limit": limit, "offset": start})}>; rel="{relation}"'
        for relation, start in pages.items()
    ]
    headers = {"x-total-count": str(len(found))} | ({"link": ", ".join(links)} if links else {})
    return Answer(adapter, found[offset : offset + limit], headers)


class Answers:
    """Answers by URL, each with what tells whether it is still the one to give."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], tuple[Answer, Callable[[], bool]]] = {}

    def keep(self, request: Request, answer: Answer, is_current: Callable[[], bool]) -> Answer:
        """Keep the answer to a request and return it."""
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[request.url.path, request.scope["query_string"]] = (answer, is_current)
        return answer

    def find(self, scope: Scope) -> Answer | None:
        """Return the answer to a request, None where it has to be made."""
        known = self._known.get((scope["path"], scope["query_string"]))
        return known[0] if known is not None and known[1]() else None


class Remembered:
    """ASGI middleware that gives kept answers, and leaves the rest to the routes behind it."""

    def __init__(self, app: ASGIApp, *, answers: Answers) -> None:
        self._app, self._answers = app, answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        kept = (
            self._answers.find(scope)
            if scope["type"] == "http" and scope["method"] == "GET"
            else None
        )
        await (kept or self._app)(scope, receive, send)
