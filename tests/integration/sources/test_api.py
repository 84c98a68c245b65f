"""The ``api`` source against a real HTTP server on loopback."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate
from threading import Event
from typing import Any
from urllib.parse import parse_qsl

import polars as pl
import pytest

from dataflow_runtime.config import Window
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.sources import read_source
from tests.integration.sources.conftest import Answer, Request, Server

ROWS = [{"id": number, "name": f"é{number}"} for number in range(25)]
SECRET = "a+very/secret=value"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.fixture
def ids(read: Any, server: Server) -> Any:
    def ids(path: str = "/rows", **settings: Any) -> list[int]:
        found: list[int] = read("api", url=server.url + path, **settings)["id"].to_list()
        return found

    return ids


def page(
    request: Request, size: int = 10, name: str = "offset"
) -> tuple[int, list[dict[str, Any]]]:
    start = int(request.query.get(name) or 0)
    return start, ROWS[start : start + size]


def test_one_page(ids: Any, server: Server) -> None:
    server.answer = lambda _: ROWS
    assert ids() == list(range(25))


def test_what_is_sent(ids: Any, server: Server) -> None:
    server.answer = lambda _: {"meta": {"tags": ["x"]}, "data": ROWS[:2]}
    assert ids(
        "/rows/?a=1",
        params={"b": 2, "since": "2024-01-01T00:00:00+00:00"},
        headers={"X-Tenant": "ö".encode().decode("latin-1")},
    ) == [0, 1]
    request = server.requests[0]
    assert (request.method, request.path, request.query) == (
        "GET",
        "/rows/",
        {"a": "1", "b": "2", "since": "2024-01-01T00:00:00+00:00"},
    )
    assert "X-Tenant" in request.headers


@pytest.mark.parametrize("body", [{"filter": {"active": True}}, [1, 2]])
def test_post(ids: Any, server: Server, body: Any) -> None:
    server.answer = lambda _: ROWS
    assert len(ids(method="POST", json=body)) == 25
    assert server.requests[0].method == "POST"
    assert server.requests[0].json == body


@pytest.mark.parametrize(
    ("format_", "start", "end"),
    [
        ("iso", "2024-03-01T00:00:00Z", "2024-03-02T12:30:00Z"),
        ("date", "2024-03-01", "2024-03-02"),
        ("epoch_s", "1709251200", "1709382600"),
        ("epoch_ms", "1709251200000", "1709382600000"),
    ],
)
def test_the_rows_of_a_range_are_asked_for(
    configure: Any, server: Server, format_: str, start: str, end: str
) -> None:
    server.answer = lambda _: ROWS
    incremental = {"start_param": "from", "end_param": "to", "format": format_}
    config = configure(
        {"type": "api", "api": {"url": f"{server.url}/rows?a=1", "incremental": incremental}}
    )
    window = Window(
        datetime(2024, 3, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(2024, 3, 2, 12, 30, tzinfo=UTC),
    )
    for asked, expected in (
        (window, {"from": start, "to": end}),
        (Window(7), {"from": "7"}),
        (None, {}),
    ):
        list(read_source(config.within(asked)))
        assert server.requests[-1].query == {"a": "1", **expected}


@pytest.mark.parametrize(
    ("document", "selector"),
    [
        (ROWS, None),
        (ROWS, "$"),
        ({"next-page": None, "my-rows": {"data": ROWS}}, None),
        ({"data": {"items": ROWS}}, "data.items"),
        ({"data": {"items": ROWS}}, "$.data.items[*]"),
        ({"data": [{"row": row} for row in ROWS]}, "$.data[*].row"),
        ({"a": [{"id": -1}], "b-c": ROWS}, "$.'b-c'[?(@.id >= 0)]"),
    ],
)
def test_selectors(ids: Any, server: Server, document: Any, selector: str | None) -> None:
    server.answer = lambda _: document
    assert ids(data_selector=selector) == list(range(25))


def test_one_row(ids: Any, server: Server) -> None:
    server.answer = lambda _: {"id": 7, "nested": {"a": [1]}}
    assert ids() == [7]


# Authentication


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "bearer", "token": SECRET}, "Authorization", f"Bearer {SECRET}"),
        (
            {"type": "basic", "username": "ü", "password": SECRET},
            "Authorization",
            "Basic " + base64.b64encode(f"ü:{SECRET}".encode()).decode(),
        ),
        ({"type": "api_key", "value": SECRET}, "X-API-Key", SECRET),
        ({"type": "api_key", "name": "X-Key", "value": SECRET}, "X-Key", SECRET),
    ],
)
def test_credentials_in_a_header(
    ids: Any, server: Server, auth: Any, header: str, value: str
) -> None:
    server.answer = lambda request: (
        ROWS if request.headers.get(header) == value else Answer({}, status=401)
    )
    assert len(ids(auth=auth)) == 25


def test_a_key_in_the_query_on_every_page(ids: Any, server: Server) -> None:
    def answer(request: Request) -> Any:
        start, rows = page(request)
        url = f"{server.url}/rows?offset={start + 10}" if start + 10 < 25 else None
        return (
            {"data": rows, "next": url}
            if request.query.get("appid") == SECRET
            else Answer({}, status=401)
        )

    server.answer = answer
    auth = {"type": "api_key", "name": "appid", "value": SECRET, "location": "query"}
    assert ids(auth=auth, pagination={"type": "next_url", "path": "next"}) == list(range(25))


@pytest.mark.parametrize("scopes", [[], ["read", "write"]])
def test_oauth2_client_credentials(ids: Any, server: Server, scopes: list[str]) -> None:
    form: dict[str, str] = {}

    def answer(request: Request) -> Any:
        if request.path == "/token":
            form.update(parse_qsl(request.body.decode()))
            number = sum(request.path == "/token" for request in server.requests)
            # The first token has run out as soon as it arrives.
            return {"access_token": f"token-{number}", "expires_in": 0 if number == 1 else None}
        _start, rows = page(request)
        known = request.headers.get("Authorization") in ("Bearer token-1", "Bearer token-2")
        return {"data": rows, "total": 25} if known else Answer({}, status=401)

    server.answer = answer
    auth = {
        "type": "oauth2_client_credentials",
        "token_url": f"{server.url}/token",
        "client_id": "me",
        "client_secret": SECRET,
        "scopes": scopes,
    }
    assert ids(
        auth=auth, pagination={"type": "offset", "limit": 10, "total_path": "total"}
    ) == list(range(25))
    assert form == {
        "grant_type": "client_credentials",
        "client_id": "me",
        "client_secret": SECRET,
        **({"scope": "read write"} if scopes else {}),
    }
    assert [request.path for request in server.requests].count("/token") == 2


def test_a_token_is_asked_for_once_and_used_for_all_pages(ids: Any, server: Server) -> None:
    def answer(request: Request) -> Any:
        if request.path == "/token":
            return {"access_token": "the-token", "expires_in": 3600}
        known = request.headers.get("Authorization") == "Bearer the-token"
        return page(request)[1] if known else Answer({}, status=401)

    server.answer = answer
    auth = {
        "type": "oauth2_client_credentials",
        "token_url": f"{server.url}/token",
        "client_id": "me",
        "client_secret": SECRET,
    }
    headers = {"X-Tenant": "ours"}
    pagination = {"type": "offset", "limit": 10}
    assert ids(auth=auth, pagination=pagination, headers=headers) == list(range(25))
    token, *pages = server.requests
    assert (token.path, {request.path for request in pages}) == ("/token", {"/rows"})
    # The headers are for the rows only.
    assert "X-Tenant" not in token.headers
    assert {request.headers["X-Tenant"] for request in pages} == {"ours"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer({"error": "invalid_client"}, status=401), r"/token: HTTP 401 .*invalid_client"),
        (Answer({"error": "none"}), r"/token: the answer holds no access_token"),
        (Answer(b"<html>"), r"/token: the answer is not valid JSON"),
    ],
)
def test_no_token(ids: Any, server: Server, answer: Answer, message: str) -> None:
    server.answer = lambda request: answer if request.path == "/token" else ROWS
    auth = {
        "type": "oauth2_client_credentials",
        "token_url": f"{server.url}/token",
        "client_id": "me",
        "client_secret": SECRET,
    }
    with pytest.raises(DataflowError, match=message) as raised:
        ids(auth=auth)
    assert SECRET not in str(raised.value)


CREDENTIALS = [
    {"auth": {"type": "bearer", "token": SECRET}},
    {"auth": {"type": "basic", "username": "me", "password": SECRET}},
    {"auth": {"type": "api_key", "name": "X-Key", "value": SECRET}},
    {"auth": {"type": "api_key", "name": "appid", "value": SECRET, "location": "query"}},
    {"headers": {"X-Token": SECRET}},
]


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    """Another host: its port is another one."""
    server = Server()
    yield server
    server.close()


@pytest.mark.parametrize("credentials", CREDENTIALS)
@pytest.mark.parametrize("kind", ["next_url", "link_header"])
def test_credentials_do_not_follow_a_next_page_to_another_host(
    ids: Any, server: Server, elsewhere: Server, kind: str, credentials: Any
) -> None:
    url = f"{elsewhere.url}/rows"
    server.answer = lambda _: Answer(
        {"rows": [{"id": 0}], "next": url}, headers={"Link": f'<{url}>; rel="next"'}
    )
    elsewhere.answer = lambda _: {"rows": [{"id": 1}], "next": None}
    pagination = {"type": kind, **({"path": "next"} if kind == "next_url" else {})}
    with pytest.raises(
        DataflowError, match=rf"the next page is at {elsewhere.url}, another host"
    ) as raised:
        ids(pagination=pagination, data_selector="rows", **credentials)
    assert SECRET not in str(raised.value)
    assert elsewhere.requests == []
    # Without credentials there is nothing to lose.
    assert ids(pagination=pagination, data_selector="rows") == [0, 1]


@pytest.mark.parametrize("credentials", CREDENTIALS)
def test_credentials_do_not_follow_a_redirect_to_another_host(
    ids: Any, server: Server, elsewhere: Server, credentials: Any
) -> None:
    server.answer = lambda request: (
        [{"id": 0}]
        if request.path == "/here"
        else Answer([], status=302, headers={"Location": target})
    )
    elsewhere.answer = lambda _: [{"id": 1}]
    target = f"{elsewhere.url}/signed?token=their-own"
    assert ids(**credentials) == [1]
    [request] = elsewhere.requests
    assert SECRET not in str((request.headers, request.query, request.body))
    assert "Authorization" not in request.headers
    target = "/here"
    assert ids(**credentials) == [0]
    asked, redirected = server.requests[-2:]
    private = {"Authorization", "X-Key", "X-Token"}
    assert {name: asked.headers.get(name) for name in private} == {
        name: redirected.headers.get(name) for name in private
    }


@pytest.mark.parametrize("status", [307, 308])
def test_a_body_does_not_follow_a_redirect_to_another_host(
    ids: Any, server: Server, elsewhere: Server, status: int
) -> None:
    server.answer = lambda request: (
        [{"id": 0}] if request.path == "/here" else Answer([], status, {"Location": target})
    )
    elsewhere.answer = lambda _: {"access_token": "x"}
    target = f"{elsewhere.url}/rows"
    post = {"method": "POST", "json": {"private": SECRET}}
    oauth = {
        "type": "oauth2_client_credentials",
        "token_url": f"{server.url}/token",
        "client_id": "me",
        "client_secret": SECRET,
    }
    for settings in (post, {"auth": oauth}):
        with pytest.raises(DataflowError, match=f"to {elsewhere.url}, another host") as raised:
            ids(**settings)
        assert SECRET not in str(raised.value)
    assert elsewhere.requests == []
    target = "/here"
    assert ids(**post) == [0]
    assert server.requests[-1].json == post["json"]


def test_a_client_secret_does_not_follow_a_redirect_to_the_host_of_the_rows(
    ids: Any, server: Server, elsewhere: Server
) -> None:
    server.answer = lambda _: {"access_token": "x"}
    elsewhere.answer = lambda _: Answer({}, 307, {"Location": f"{server.url}/token"})
    auth = {
        "type": "oauth2_client_credentials",
        "token_url": f"{elsewhere.url}/token",
        "client_id": "me",
        "client_secret": SECRET,
    }
    with pytest.raises(DataflowError, match="another host"):
        ids(auth=auth)
    assert server.requests == []


@pytest.mark.parametrize("kind", ["redirect", "next_url"])
def test_a_host_is_read_as_the_request_reads_it(
    ids: Any, server: Server, elsewhere: Server, kind: str
) -> None:
    # Some parsers take what is after the @ for the host.
    target = f"{elsewhere.url}\\@{server.url.removeprefix('http://')}/rows"
    server.answer = lambda _: (
        Answer([], 302, {"Location": target})
        if kind == "redirect"
        else {"data": [{"id": 0}], "next": target}
    )
    elsewhere.answer = lambda _: [{"id": 1}]
    pagination = {"type": "next_url", "path": "next"} if kind == "next_url" else {"type": "none"}
    with suppress(DataflowError):
        ids(headers={"X-Token": SECRET}, pagination=pagination)
    assert SECRET not in str([request.headers for request in elsewhere.requests])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_line_break_at_the_end_of_a_secret_is_not_sent(
    ids: Any, server: Server, end: str
) -> None:
    server.answer = lambda _: ROWS
    ids(auth={"type": "bearer", "token": SECRET + end})
    assert server.requests[-1].headers["Authorization"] == f"Bearer {SECRET}"
    ids(auth={"type": "basic", "username": "me", "password": SECRET + end})
    basic = base64.b64encode(f"me:{SECRET}".encode()).decode()
    assert server.requests[-1].headers["Authorization"] == f"Basic {basic}"
    ids(auth={"type": "api_key", "value": SECRET + end}, headers={"X-Other": "a" + end})
    assert server.requests[-1].headers["X-API-Key"] == SECRET
    assert server.requests[-1].headers["X-Other"] == "a"


@pytest.mark.parametrize(
    "settings",
    [
        {"auth": {"type": "bearer", "token": "hunter2…secret"}},
        {"auth": {"type": "api_key", "value": "hunter2…secret"}},
        {"headers": {"X-Token": "hunter2…secret"}},
        {"headers": {"X-Other": " hunter2 after a space"}},
    ],
)
def test_what_no_header_can_carry_is_an_error(ids: Any, server: Server, settings: Any) -> None:
    with pytest.raises(DataflowError, match="a character that HTTP does not allow") as raised:
        ids(**settings)
    assert "hunter2" not in str(raised.value)
    assert "source.api.auth and headers" in str(raised.value.hint)
    assert server.requests == []


def test_secrets_of_the_url_and_the_parameters_are_not_shown(ids: Any, server: Server) -> None:
    server.answer = lambda _: Answer({}, status=404)
    with pytest.raises(DataflowError, match="HTTP 404") as raised:
        ids("/rows?token=hunter2-a&x=1", params={"sig": "hunter2-b", "access_token": "hunter2-c"})
    assert "hunter2" not in str(raised.value)
    assert "x=1" in str(raised.value)


# Pagination


def test_link_header(ids: Any, server: Server) -> None:
    def answer(request: Request) -> Any:
        start, rows = page(request)
        links = ['</rows?offset=0>; rel="first"'] + [f'</rows?offset={start + 10}>; rel="next"'] * (
            start + 10 < 25
        )
        return Answer(rows, headers={"Link": ", ".join(links)})

    server.answer = answer
    assert ids(params={"size": 10}, pagination={"type": "link_header"}) == list(range(25))
    assert [request.query for request in server.requests] == [
        {"size": "10"},
        {"offset": "10"},
        {"offset": "20"},
    ]


@pytest.mark.parametrize("absolute", [True, False])
def test_next_url(ids: Any, server: Server, absolute: bool) -> None:
    def answer(request: Request) -> Any:
        start, rows = page(request)
        url = (server.url if absolute else "") + f"/rows?offset={start + 10}"
        return {"rows": rows, "paging": {"next": url if start + 10 < 25 else None}}

    server.answer = answer
    assert ids(pagination={"type": "next_url", "path": "$.paging.next"}) == list(range(25))


@pytest.mark.parametrize("end", [None, ""])
def test_cursor(ids: Any, server: Server, end: Any) -> None:
    def answer(request: Request) -> Any:
        start, rows = page(request, name="after")
        return {"data": rows, "meta": {"cursor": str(start + 10) if start + 10 < 25 else end}}

    server.answer = answer
    pagination = {"type": "cursor", "path": "meta.cursor", "param": "after"}
    assert ids(pagination=pagination, params={"size": 10}) == list(range(25))
    assert server.requests[1].query == {"size": "10", "after": "10"}


@pytest.mark.parametrize("total", ["total", None])
def test_offset(ids: Any, server: Server, total: str | None) -> None:
    server.answer = lambda request: {
        "data": page(request, int(request.query["n"]), "skip")[1],
        "total": 25,
    }
    names = {"offset_param": "skip", "limit_param": "n"}
    assert ids(pagination={"type": "offset", "limit": 10, "total_path": total, **names}) == list(
        range(25)
    )
    assert len(server.requests) == (3 if total else 4)


@pytest.mark.parametrize("total", ["meta.pages", None])
@pytest.mark.parametrize("base", [0, 1])
def test_page_number(ids: Any, server: Server, total: str | None, base: int) -> None:
    def answer(request: Request) -> Any:
        start = (int(request.query["p"]) - base) * 10
        return {"meta": {"pages": 3}, "data": ROWS[start : start + 10]}

    server.answer = answer
    pagination = {"type": "page_number", "page_param": "p", "base_page": base, "total_path": total}
    assert ids(pagination=pagination) == list(range(25))
    assert len(server.requests) == (3 if total else 4)


@pytest.mark.parametrize(
    "pagination",
    [
        {"type": "cursor", "path": "next", "param": "page.start", "location": "body"},
        {
            "type": "offset",
            "limit": 10,
            "offset_param": "page.start",
            "limit_param": "page.n",
            "location": "body",
        },
        {"type": "page_number", "page_param": "page.number", "base_page": 0, "location": "body"},
    ],
)
def test_pages_asked_for_in_the_body(configure: Any, server: Server, pagination: Any) -> None:
    def answer(request: Request) -> Any:
        asked = request.json["page"]
        start = int(asked.get("start") or asked.get("number", 0) * 10)
        return {
            "data": ROWS[start : start + 10],
            "next": str(start + 10) if start + 10 < 25 else None,
        }

    server.answer = answer
    api = {
        "url": server.url,
        "method": "POST",
        "json": {"page": {"size": 10}},
        "pagination": pagination,
    }
    config = configure({"type": "api", "api": api})
    for _ in range(2):  # a body that is not the config's own
        frames = pl.concat(list(read_source(config)), how="diagonal")
        assert frames["id"].to_list() == list(range(25))


REPEATING = {
    "the same cursor": (
        {"type": "cursor", "path": "next"},
        lambda n: {"data": [{"id": n}], "next": "again"},
    ),
    "a circle of cursors": (
        {"type": "cursor", "path": "next"},
        lambda n: {"data": [{"id": n}], "next": "ab"[n % 2]},
    ),
    "the same URL": (
        {"type": "next_url", "path": "next"},
        lambda n: {"data": [], "next": "/rows?page=2"},
    ),
    "the same link": (
        {"type": "link_header"},
        lambda n: Answer([], headers={"Link": '</rows?page=2>; rel="next"'}),
    ),
    "a page number that it does not know": (
        {"type": "page_number"},
        lambda n: {"data": ROWS[:3], "at": time.time()},
    ),
    "an offset that it does not know": ({"type": "offset"}, lambda n: ROWS[:3]),
    "the third page again": ({"type": "page_number"}, lambda n: ROWS[min(n, 3) : min(n, 3) + 1]),
}


@pytest.mark.parametrize("kind", REPEATING)
def test_an_api_that_repeats_itself_is_an_error(ids: Any, server: Server, kind: str) -> None:
    pagination, answer = REPEATING[kind]
    server.answer = lambda _: answer(len(server.requests))
    with pytest.raises(
        DataflowError, match=rf"source.api: {server.url}/rows.*: (the page repeats|names a next)"
    ) as raised:
        ids(pagination=pagination)
    assert len(server.requests) <= 5
    assert "source.api.pagination" in str(raised.value.hint)


def test_a_missing_total_is_an_error(ids: Any, server: Server) -> None:
    server.answer = lambda _: {"data": ROWS}
    with pytest.raises(DataflowError, match=rf"{server.url}/rows.*total") as raised:
        ids(pagination={"type": "page_number", "total_path": "total"})
    assert raised.value.hint == "check source.api.pagination"


def capped(cap: int, total: Any) -> Any:
    """Answer as a server that sends at most `cap` of the 25 rows, whatever limit is asked for."""

    def answer(request: Request) -> Any:
        size = min(cap, int(request.query["limit"]))
        return {"data": page(request, size)[1], "meta": {"total": total}}

    return answer


@pytest.mark.parametrize("total_path", ["meta.total", None])
def test_offset_steps_by_the_rows_that_came(
    ids: Any, server: Server, total_path: str | None
) -> None:
    server.answer = capped(4, 25)
    pagination = {"type": "offset", "limit": 10, "total_path": total_path}
    assert ids(pagination=pagination) == list(range(25))


@pytest.mark.parametrize("total", [26, 7, "7"])
def test_offset_compares_the_rows_with_the_total(ids: Any, server: Server, total: Any) -> None:
    server.answer = capped(10, total)
    pagination = {"type": "offset", "limit": 10, "total_path": "meta.total"}
    with pytest.raises(DataflowError, match=rf"rows came, where the total is {total}") as raised:
        ids(pagination=pagination)
    assert "Run again" in str(raised.value.hint)


PAGES = {"type": "page_number", "page_param": "page"}


@pytest.mark.parametrize("selector", [None, "data", "$.data[*]"])
@pytest.mark.parametrize(
    "second",
    [
        {"error": "quota used up"},
        {"errors": [{"message": "quota used up"}]},
        {"data": None, "errors": [{"message": "quota used up"}]},
        {"data": [], "error": {"reason": "quota used up"}},
    ],
)
def test_an_error_with_status_200_is_an_error(
    ids: Any, server: Server, second: Any, selector: str | None
) -> None:
    server.answer = lambda request: {"data": ROWS[:3]} if request.query["page"] == "1" else second
    with pytest.raises(DataflowError, match=rf"{server.url}/rows\?page=2: .*quota used up"):
        ids(pagination=PAGES, data_selector=selector)


@pytest.mark.parametrize(
    "selector",
    [None, "data", "$.data", "$.data[*]", "$['data'][*]", "$.data.[*]", "$.data[?(@.id)]"],
)
@pytest.mark.parametrize("second", [{}, {"next": None}, {"rows": ROWS[3:]}])
def test_a_page_without_the_key_of_the_rows_is_an_error(
    ids: Any, server: Server, second: Any, selector: str | None
) -> None:
    server.answer = lambda request: {"data": ROWS[:3]} if request.query["page"] == "1" else second
    with pytest.raises(
        DataflowError, match=r"/rows\?page=2: nothing at source\.api\.data_selector"
    ):
        ids(pagination=PAGES, data_selector=selector)


@pytest.mark.parametrize("selector", [None, "$"])
@pytest.mark.parametrize("first", [ROWS[:3], {"id": 0}])
def test_an_object_in_place_of_a_list_of_rows_is_an_error(
    ids: Any, server: Server, first: Any, selector: str | None
) -> None:
    server.answer = lambda request: first if request.query["page"] == "1" else {"status": "late"}
    number = 2 if isinstance(first, list) else 1
    with pytest.raises(DataflowError, match=rf"page={number}: yields one object, expected a list"):
        ids(pagination=PAGES, data_selector=selector)


def test_an_error_in_place_of_the_only_row_is_an_error(ids: Any, server: Server) -> None:
    server.answer = lambda _: {"id": 1, "error": "quota used up"}
    with pytest.raises(DataflowError, match=r"/rows: yields one object.*quota used up"):
        ids()
    server.answer = lambda _: {"id": 1, "error": None}
    assert ids() == [1]


def test_the_list_of_rows_is_known_only_once_it_has_rows(ids: Any, server: Server) -> None:
    first = {"warnings": [], "orders": [], "next": "b"}
    second = {"orders": [{"id": 1}], "warnings": [], "next": None}
    server.answer = lambda request: second if "cursor" in request.query else first
    assert ids(pagination={"type": "cursor", "path": "next"}) == [1]


def test_pages_without_rows_for_ever_are_an_error(ids: Any, server: Server) -> None:
    server.answer = lambda _: {"data": [], "next": str(len(server.requests))}
    pagination = {"type": "cursor", "path": "next", "max_empty_pages": 4}
    with pytest.raises(DataflowError, match="a next page after 4 pages without rows"):
        ids(pagination=pagination)
    assert len(server.requests) == 4
    # Three in a row may come, as often as they like.
    server.requests.clear()
    server.answer = lambda _: {
        "data": [{"id": len(server.requests)}] if len(server.requests) % 4 == 0 else [],
        "next": str(len(server.requests)) if len(server.requests) < 12 else None,
    }
    assert ids(pagination=pagination) == [4, 8, 12]


def test_more_pages_than_the_limit_are_an_error(ids: Any, server: Server) -> None:
    def answer(request: Request) -> Any:
        start, rows = page(request, name="after")
        return {"data": rows, "next": str(start + 10) if start + 10 < 25 else None}

    server.answer = answer
    pagination = {"type": "cursor", "path": "next", "param": "after"}
    assert ids(pagination={**pagination, "max_pages": 3}) == list(range(25))
    with pytest.raises(DataflowError, match="a next page after 2 pages, the limit") as raised:
        ids(pagination={**pagination, "max_pages": 2})
    assert "max_pages" in str(raised.value.hint)


@pytest.mark.parametrize("status", [200, 503])
def test_a_run_that_takes_too_long_is_an_error(ids: Any, server: Server, status: int) -> None:
    server.answer = lambda _: Answer(
        {"data": [{"id": len(server.requests)}], "next": str(len(server.requests))},
        status=status,
        headers={"Retry-After": "3600"},
    )
    start = time.monotonic()
    with pytest.raises(DataflowError, match=r"did not end within 0\.3 s") as raised:
        ids(pagination={"type": "cursor", "path": "next"}, max_seconds=0.3)
    assert time.monotonic() - start < 5
    assert "max_seconds" in str(raised.value.hint)


# Failures


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_failed_request_is_sent_again(
    ids: Any, server: Server, waits: list[float], status: int
) -> None:
    server.answer = lambda _: (
        ROWS if len(server.requests) > 3 else Answer({"error": "busy"}, status=status)
    )
    assert len(ids()) == 25
    assert waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("lost", [Answer(status=0), Answer(b'[{"id": 1}', length=1000)])
def test_a_lost_connection_is_tried_again(
    ids: Any, server: Server, waits: list[float], lost: Answer
) -> None:
    server.answer = lambda _: ROWS if len(server.requests) > 2 else lost
    assert len(ids()) == 25
    assert len(server.requests) == 3


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_honoured(ids: Any, server: Server, waits: list[float], date: bool) -> None:
    after = formatdate(time.time() + 700, usegmt=True) if date else "700"
    busy = Answer({}, status=429, headers={"Retry-After": after})
    server.answer = lambda _: ROWS if len(server.requests) > 1 else busy
    assert len(ids()) == 25
    assert len(waits) == 1
    assert 690 < waits[0] <= 700


def test_it_gives_up_after_the_retries(ids: Any, server: Server, waits: list[float]) -> None:
    server.answer = lambda _: Answer({"error": "down for maintenance"}, status=503)
    with pytest.raises(
        DataflowError, match=rf"{server.url}/rows: HTTP 503 .* after 3 tries: .*maintenance"
    ) as raised:
        ids(max_retries=2)
    assert len(server.requests) == 3
    assert "run again" in str(raised.value.hint)


def test_time_out(ids: Any, server: Server, waits: list[float]) -> None:
    done = Event()
    server.answer = lambda _: done.wait(5) and []
    try:
        with pytest.raises(
            DataflowError, match=rf"{server.url}/rows: no answer within 0.2 s after 2 tries"
        ) as raised:
            ids(timeout=0.2, max_retries=1)
    finally:
        done.set()
    assert "source.api.timeout" in str(raised.value.hint)


def test_a_refused_connection_is_an_error(ids: Any, server: Server, waits: list[float]) -> None:
    server.close()
    with pytest.raises(
        DataflowError, match=rf"{server.url}/rows: no connection.*refused"
    ) as raised:
        ids(max_retries=1)
    assert "0x" not in raised.value.message
    assert waits == [1.0]


def test_an_unknown_host_is_an_error(read: Any, waits: list[float]) -> None:
    with pytest.raises(DataflowError, match=r"http://no-such-host.invalid/rows: no connection"):
        read("api", url="http://no-such-host.invalid/rows", max_retries=0)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(400, "check source.api"), (401, "source.api.auth"), (403, "source.api.auth"), (404, "url")],
)
def test_a_refusal_is_not_tried_again(ids: Any, server: Server, status: int, hint: str) -> None:
    server.answer = lambda _: Answer({"error": "no 'from'"}, status=status)
    with pytest.raises(
        DataflowError, match=rf"{server.url}/rows\?q=1: HTTP {status} .*no 'from'"
    ) as raised:
        ids(params={"q": 1})
    assert len(server.requests) == 1
    assert hint in str(raised.value.hint)


@pytest.mark.parametrize("status", [401, 0, 200])
def test_no_error_holds_the_key(ids: Any, server: Server, waits: list[float], status: int) -> None:
    server.answer = lambda request: Answer(
        f"<{request.query['appid']}> is wrong".encode(), status=status
    )
    auth = {"type": "api_key", "name": "appid", "value": SECRET, "location": "query"}
    with pytest.raises(DataflowError, match=r"/rows\?appid=\*+: ") as raised:
        ids(auth=auth, max_retries=0)
    assert SECRET not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_page_7_dies_and_the_next_run_completes(
    ids: Any, server: Server, waits: list[float]
) -> None:
    down = True

    def answer(request: Request) -> Any:
        number = int(request.query["page"])
        return Answer({}, status=500) if down and number == 7 else ROWS[number * 2 : number * 2 + 2]

    server.answer = answer
    pagination = {"type": "page_number", "base_page": 0}
    with pytest.raises(
        DataflowError, match=rf"{server.url}/rows\?page=7: HTTP 500 .* after 2 tries"
    ):
        ids(max_retries=1, pagination=pagination)
    down = False
    assert ids(pagination=pagination) == list(range(25))


@pytest.mark.parametrize("body", [b"<html>login</html>", b"", b'[{"id": 1}'])
def test_an_answer_that_is_not_json(ids: Any, server: Server, body: bytes) -> None:
    server.answer = lambda _: Answer(body, headers={"Content-Type": "text/html"})
    with pytest.raises(
        DataflowError, match=rf"{server.url}/rows: the answer is not valid JSON \(text/html\)"
    ):
        ids()


@pytest.mark.parametrize("document", [[1, 2], ["a"], "text", 3])
def test_rows_that_are_not_objects_are_an_error(ids: Any, server: Server, document: Any) -> None:
    server.answer = lambda _: document
    with pytest.raises(DataflowError, match=r"/rows: yields (int|str), expected objects") as raised:
        ids()
    assert "source.api.data_selector" in str(raised.value.hint)


def test_a_selector_that_misses_the_rows_is_an_error(ids: Any, server: Server) -> None:
    server.answer = lambda _: {"data": ROWS}
    with pytest.raises(
        DataflowError, match=r"/rows: nothing at source.api.data_selector 'items'"
    ) as raised:
        ids(data_selector="items")
    assert raised.value.hint == "the answer has 25 rows at 'data'"


@pytest.mark.parametrize(
    "settings", [{"data_selector": "$[["}, {"pagination": {"type": "next_url", "path": "$.."}}]
)
def test_an_invalid_jsonpath_is_an_error(ids: Any, server: Server, settings: Any) -> None:
    server.answer = lambda _: {"data": ROWS}
    with pytest.raises(DataflowError, match="is not a JSONPath"):
        ids(**settings)


@pytest.mark.parametrize("selector", ["data", "$.data", "$.data[*]", "$['data'][?(@.id > 0)]"])
@pytest.mark.parametrize("document", [[], {"data": []}, {"data": None}])
def test_no_rows(configure: Any, server: Server, document: Any, selector: str) -> None:
    server.answer = lambda _: document
    api = {"url": server.url, "data_selector": selector}
    frames = list(read_source(configure({"type": "api", "api": api})))
    assert sum(frame.height for frame in frames) == 0


def test_rate_limit(ids: Any, server: Server) -> None:
    times: list[float] = []

    def answer(request: Request) -> Any:
        times.append(time.monotonic())
        return Answer({}, status=500) if len(times) == 2 else page(request, 5)[1]

    server.answer = answer
    from dataflow_runtime.pipeline.sources import api

    backoff, api.BACKOFF = api.BACKOFF, 0.001
    try:
        assert ids(rate_limit=20, pagination={"type": "offset", "limit": 5}) == list(range(25))
    finally:
        api.BACKOFF = backoff
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) == 7
    assert min(gaps) > 0.03  # 0.05 less what the way to the server differs
