"""Answers that are the same until what they are made of changes: bytes with an ETag."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

__all__ = ["Answer", "Limit", "Offset", "Pages"]

Limit = Annotated[int, Query(ge=1, le=1_000, description="Most entries to return.")]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="Entries to leave out before them.")]

_MOST_PAGES = 1_000


@dataclass(frozen=True)
class Answer:
    """The bytes of an answer and its headers."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, adapter: TypeAdapter[Any], value: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Return the answer that a value makes."""
        body = adapter.dump_json(value)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        return cls(body, {"etag": tag, "cache-control": "private, no-cache", **(headers or {})})

    def to(self, request: Request) -> Response:
        """Return the response to a request: 304 where its sender has this answer already."""
        known = request.headers.get("if-none-match")
        if known is not None and self._is_in(known):
            return Response(status_code=304, headers=self.headers)
        return Response(self.body, headers=self.headers, media_type="application/json")

    def _is_in(self, tags: str) -> bool:
        found = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return "*" in found or self.headers["etag"] in found


class Pages:
    """A list of which clients take filtered pages; each page is made once."""

    def __init__(self, path: str, adapter: TypeAdapter[Any], entries: Sequence[Any]) -> None:
        self._path, self._adapter, self._entries = path, adapter, entries
        self._made: dict[tuple[object, ...], Answer] = {}

    def get(
        self, limit: int, offset: int, query: Mapping[str, str | None], wanted: Callable[[Any], bool] = lambda _: True
    ) -> Answer:
        """Return a page of the entries that are wanted: with `X-Total-Count`, and a `Link` to the pages around it.

        Args:
            limit: Most entries.
            offset: Entries before them.
            query: The filters as the client gave them.
            wanted: What they mean.
        """
        key = (limit, offset, *query.values())
        if key not in self._made:
            if len(self._made) >= _MOST_PAGES:
                self._made.clear()
            self._made[key] = self._make(limit, offset, query, wanted)
        return self._made[key]

    def _make(self, limit: int, offset: int, query: Mapping[str, str | None], wanted: Callable[[Any], bool]) -> Answer:
        found = [entry for entry in self._entries if wanted(entry)]
        pages = {"next": offset + limit} if offset + limit < len(found) else {}
        if offset > 0:
            pages["prev"] = max(offset - limit, 0)
        words = {key: value for key, value in query.items() if value is not None}
        links = [
            f'<{self._path}?{urlencode({**words, "limit": limit, "offset": start})}>; rel="{relation}"'
            for relation, start in pages.items()
        ]
        headers = {"x-total-count": str(len(found))} | ({"link": ", ".join(links)} if links else {})
        return Answer.of(self._adapter, found[offset : offset + limit], headers)
