"""The ``api`` source: JSON over HTTP, page by page, with dlt's paginators, auth and retries."""

from __future__ import annotations

import copy
import json
import math
import re
import time
from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import urljoin

import requests
from dlt.sources.helpers.requests import Client
from dlt.sources.helpers.rest_client import auth, paginators
from dlt.sources.helpers.rest_client.detector import find_response_page_data
from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.ext import parse
from urllib3.util import parse_url

from dataflow_runtime.config import Window, WorkflowConfig
from dataflow_runtime.config.secrets import mask, remember_secrets
from dataflow_runtime.config.sources import ApiSource
from dataflow_runtime.errors import DataflowError, TransientError
from dataflow_runtime.pipeline.frames import utc

__all__ = ["read"]

BACKOFF = 1.0
"""Seconds before the first retry; each further one waits twice as long."""

_LONGEST_WAIT = 3600.0
"""Seconds that a server's ``Retry-After`` is waited for at most."""


def read(config: WorkflowConfig) -> Iterator[list[dict[str, Any]]]:
    """Yield the records of the pages in batches; a failed request is sent again with backoff.

    Raises:
        DataflowError: The server cannot be reached, answers with an error after the retries or
            with something that is not rows, or its pages do not come to an end.
    """
    source = config.source.api
    assert source is not None
    http = _Http(source)
    records: list[dict[str, Any]] = []
    try:
        for rows in _pages(source, config.window, http):
            # Many small pages make one frame: the type of a column is that of all its values.
            records += rows
            if len(records) >= config.processing.batch_size:
                yield records
                records = []
        yield records
    except (requests.RequestException, JSONPathError, ValueError) as error:
        raise _failure(error, http) from None


def _pages(source: ApiSource, window: Window | None, http: _Http) -> Iterator[list[dict[str, Any]]]:
    selector, progress, paginator = _Selector(source), _Progress(source), _paginator(source)
    request = requests.Request(
        source.method,
        source.url,
        headers=dict(source.headers),
        params={**source.params, **_bounds(source, window)},
        json=copy.deepcopy(source.json_),
        auth=http.auth,
    )
    paginator.init_request(request)
    while paginator.has_next_page:
        response = http.send(request)
        rows = selector.rows(response)
        paginator.update_state(response, rows)
        paginator.update_request(request)
        progress.check(response.url, rows, request if paginator.has_next_page else None)
        yield rows


def _bounds(source: ApiSource, window: Window | None) -> dict[str, Any]:
    """Return the query parameters that ask for the rows of a run's window."""
    asked = source.incremental
    if asked is None or window is None:
        return {}
    bounds = {asked.start_param: window.start, asked.end_param: window.end}
    return {name: _written(bound, asked.format) for name, bound in bounds.items() if name}


def _written(bound: Any, format_: str) -> Any:
    """Return a moment as the server reads it, and what is not a moment as it is."""
    if not isinstance(bound, date):
        return bound
    moment = utc(bound)
    if format_ == "iso":
        return moment.isoformat().replace("+00:00", "Z")
    if format_ == "date":
        return moment.date().isoformat()
    return int(moment.timestamp() * (1 if format_ == "epoch_s" else 1000))


class _Http:
    """Sends requests, with retries and at the pace of ``rate_limit``.

    Attributes:
        source: The settings.
        auth: What adds the credentials to a request.
        url: The address of the last answer, be it one with a token.
        kind: The content type of that answer.
    """

    def __init__(self, source: ApiSource) -> None:
        self.source, self.url, self.kind = source, source.url, ""
        self._interval = 1 / source.rate_limit if source.rate_limit else 0.0
        self._next = time.monotonic()
        self._end = self._next + (source.max_seconds or math.inf)
        self._session: requests.Session = Client(
            request_timeout=source.timeout,
            request_max_attempts=source.max_retries + 1,
            request_backoff_factor=max(BACKOFF, self._interval),
            request_max_retry_delay=min(_LONGEST_WAIT, source.max_seconds or _LONGEST_WAIT),
            raise_for_status=False,
        ).session
        self._session.hooks["response"].append(self._received)
        self.auth = _auth(source, self._session)
        self._private = {"Authorization", *source.headers, getattr(source.auth, "name", "")}

    def send(self, request: requests.Request) -> requests.Response:
        """Send a request and return the answer, which is not an error."""
        if (wait := self._next - time.monotonic()) > 0:
            time.sleep(wait)
        prepared = self._session.prepare_request(request)
        url = str(prepared.url)
        settings = self._session.merge_environment_settings(url, {}, None, None, None)
        response: requests.Response = self._session.send(prepared, **settings)
        response.raise_for_status()
        return response

    def _received(self, response: requests.Response, **_: Any) -> None:
        """Look at each answer, also at those that are tried again or redirect."""
        self.url, self.kind = response.url, response.headers.get("Content-Type", "no Content-Type")
        if self._interval:
            self._next = time.monotonic() - response.elapsed.total_seconds() + self._interval
        if time.monotonic() > self._end:
            found = f"the pages did not end within {self.source.max_seconds:g} s"
            raise _error(self.url, found, "raise source.api.max_seconds, or ask for fewer rows")
        target = _origin(urljoin(response.url, response.headers.get("Location", "")))
        if not response.is_redirect or target == _origin(response.url):
            return
        if response.request.body and response.status_code in (307, 308):
            found = f"redirects the body of the request to {target}, another host"
            raise _error(self.url, found, "if that host may have it, configure its address")
        # requests drops `Authorization` itself, but nothing else.
        for name in self._private:
            response.request.headers.pop(name, None)


class _Selector:
    """Finds the rows of a page, and tells no rows from an answer that is not the data."""

    def __init__(self, source: ApiSource) -> None:
        selector = source.data_selector
        self._path = parse(selector) if selector else None
        # What is before a wildcard or filter is there even without rows.
        self._list = parse(re.split(r"\.?\[[*?]", selector)[0]) if selector else None
        self._one_page = source.pagination.type == "none"

    def rows(self, response: requests.Response) -> list[dict[str, Any]]:
        """Return the rows of a page, which may have none.

        Raises:
            DataflowError: The answer is something else, such as an error with status 200.
        """
        document = response.json()
        path = self._path or _detected(document)
        rows = [match.value for match in path.find(document)]
        if len(rows) == 1 and isinstance(rows[0], list):
            rows = rows[0]
        complaint = isinstance(document, dict) and (document.get("error") or document.get("errors"))
        others = [type(row).__name__ for row in rows if not isinstance(row, dict)]
        if rows in ([], [None]):
            # Some servers send an empty list in place of an empty object.
            if not complaint and (document == [] or (self._list or path).find(document)):
                return []
            problem = f"nothing at source.api.data_selector '{path}'"
        elif others:
            problem = f"yields {others[0]}, expected objects"
        elif rows == [document] and (complaint or not self._one_page):
            problem = "yields one object, expected a list of rows"
        else:
            self._path = path
            return rows
        if complaint:
            problem = f"{problem}: {json.dumps(complaint, ensure_ascii=False)[:200]}"
        raise _error(response.url, problem, _where_rows_are(document))


def _detected(document: Any) -> Any:
    """Return the path of the list of objects in an answer, of the whole answer without one."""
    path, rows = find_response_page_data(document)
    if path == ("$",) or any(not isinstance(row, dict) for row in rows[:1]):
        return parse("$")
    # Keys are quoted: a dash or a space in one is not an operator.
    return parse(".".join(f'"{key}"' for key in path))


def _where_rows_are(document: Any) -> str:
    path, rows = find_response_page_data(document)
    if isinstance(rows, list) and rows and isinstance(rows[0], dict):
        return f"the answer has {len(rows)} rows at {'.'.join(path)!r}"
    return "source.api.data_selector is the JSONPath of the list of rows"


class _Progress:
    """Ends a reading that would go on for ever, as of a server that ignores the page's number."""

    def __init__(self, source: ApiSource) -> None:
        self._source = source
        self._seen: set[int] = set()
        self._pages = self._empty = 0

    def check(self, url: str, rows: list[Any], following: requests.Request | None) -> None:
        """Raise if a page has been read before, or the next one must not be asked for."""
        limits: Any = self._source.pagination
        hint = "does source.api.pagination name the parameters that this API takes?"
        self._pages += 1
        self._empty = 0 if rows else self._empty + 1
        if rows and self._is_known(rows):
            raise _error(url, "the page repeats an earlier one, row by row", hint)
        if following is None:
            return
        if self._is_known([following.url, following.params, following.json]):
            raise _error(url, "names a next page that has been read already", hint)
        if self._empty >= limits.max_empty_pages:
            raise _error(url, f"names a next page after {self._empty} pages without rows", hint)
        if limits.max_pages and self._pages >= limits.max_pages:
            hint = "raise source.api.pagination.max_pages, or ask for fewer rows"
            raise _error(url, f"names a next page after {self._pages} pages, the limit", hint)
        origin = _origin(str(following.url))
        private = self._source.auth or self._source.headers or self._source.json_
        if private and origin != _origin(self._source.url):
            hint = "auth, headers and json are sent to the host of source.api.url only"
            raise _error(url, f"the next page is at {origin}, another host", hint)

    def _is_known(self, content: Any) -> bool:
        key = hash(repr(content))
        known = key in self._seen
        self._seen.add(key)
        return known


def _origin(url: str) -> str:
    # Parsed as for the request itself: other parsers take b for the host of http://a\@b.
    parts = parse_url(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme or "")
    return f"{parts.scheme}://{parts.host}:{port}"


def _error(
    url: str, found: str, hint: str, kind: type[DataflowError] = DataflowError
) -> DataflowError:
    return kind(mask(f"source.api: {url}: {found}"), hint=hint)


_HINTS = {
    401: "check source.api.auth",
    403: "check source.api.auth: the server knows the request, and refuses it",
    404: "check source.api.url",
    429: "lower source.api.rate_limit, or raise source.api.max_retries",
}


def _failure(error: Any, http: _Http) -> DataflowError:
    """Return the error that says what went wrong, where, and what to do."""
    request = getattr(error, "request", None)
    url = http.url if request is None else request.url
    tries = f"after {http.source.max_retries + 1} tries"
    match error:
        case requests.HTTPError(response=requests.Response() as response):
            status, body = response.status_code, " ".join(response.text.split())[:200]
            found = f"HTTP {status} {response.reason}"
            if status != 429 and status < 500:
                return _error(url, f"{found}: {body}", _HINTS.get(status, "check source.api"))
            hint = _HINTS.get(status, "the server's fault: run again later")
            return _error(url, f"{found} {tries}: {body}", hint, TransientError)
        case requests.JSONDecodeError():
            hint = "is source.api.url the address of a JSON API, or is a login page in between?"
            return _error(url, f"the answer is not valid JSON ({http.kind}): {error}", hint)
        case requests.Timeout():
            found = f"no answer within {http.source.timeout:g} s {tries}"
            return _error(url, found, "raise source.api.timeout, or run again", TransientError)
        case requests.ConnectionError() | requests.exceptions.ChunkedEncodingError():
            found = f"no connection, or lost {tries}: {_root_cause(error)}"
            hint = "is source.api.url right, and the server up? Then run again"
            return _error(url, found, hint, TransientError)
        case JSONPathError():
            found = f"data_selector or a path of pagination is not a JSONPath: {error}"
            return _error(url, found, "an example is $.data[*]")
        case UnicodeError() | requests.exceptions.InvalidHeader():
            # The error's own words hold the value.
            found = "a header has a character that HTTP does not allow"
            return _error(url, found, "check source.api.auth and headers")
        case requests.RequestException():
            return _error(url, f"{type(error).__name__}: {error}", "check source.api")
    # dlt's words for a total that is missing or not a number.
    return _error(url, str(error)[:300], "check source.api.pagination")


def _root_cause(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {error}"


def _auth(source: ApiSource, session: requests.Session) -> Any:
    found = source.auth
    if found is None:
        return None
    if found.type == "bearer":
        return auth.BearerTokenAuth(found.token.get_secret_value())
    if found.type == "basic":
        return auth.HttpBasicAuth(found.username, found.password.get_secret_value())
    if found.type == "api_key":
        return auth.APIKeyAuth(found.name, found.value.get_secret_value(), found.location)
    return _ClientCredentials(
        access_token_url=found.token_url,
        client_id=found.client_id,
        client_secret=found.client_secret.get_secret_value(),
        access_token_request_data={"scope": " ".join(found.scopes)} if found.scopes else {},
        session=session,
    )


class _ClientCredentials(auth.OAuth2ClientCredentials):
    """As dlt's, but an answer without a token is an error, not the token ``None``."""

    def parse_access_token(self, response_json: Any) -> str:
        token = response_json.get("access_token") if isinstance(response_json, dict) else None
        if not isinstance(token, str) or not token:
            found = "the answer holds no access_token"
            raise _error(self.access_token_url, found, "check source.api.auth")
        remember_secrets([token])
        return token

    def parse_expiration_in_seconds(self, response_json: Any) -> int:
        seconds = response_json.get("expires_in")
        return self.default_token_expiration if seconds is None else int(seconds)


def _paginator(source: ApiSource) -> paginators.BasePaginator:
    found = source.pagination
    if found.type == "none":
        return paginators.SinglePagePaginator()
    if found.type == "link_header":
        return paginators.HeaderLinkPaginator()
    if found.type == "next_url":
        return paginators.JSONLinkPaginator(found.path)
    # dlt names these arguments after the place: offset_param or offset_body_path.
    place = "param" if found.location == "query" else "body_path"
    names: dict[str, Any]
    if found.type == "cursor":
        names = {f"cursor_{place}": found.param}
        return paginators.JSONResponseCursorPaginator(found.path, **names)
    if found.type == "page_number":
        names = {f"page_{place}": found.page_param}
        return paginators.PageNumberPaginator(found.base_page, total_path=found.total_path, **names)
    names = {f"offset_{place}": found.offset_param, f"limit_{place}": found.limit_param}
    return _OffsetPaginator(found.limit, total_path=found.total_path, **names)


class _OffsetPaginator(paginators.OffsetPaginator):
    """Steps by the rows that came, as a server may cap the limit; compares them with the total."""

    def update_state(self, response: requests.Response, data: list[Any] | None = None) -> None:
        self.value_step = len(data or [])
        super().update_state(response, data)
        if self.has_next_page or self.total_path is None:
            return
        totals = [match.value for match in self.total_path.find(response.json())]
        if totals and totals[0] is not None and int(totals[0]) != self.current_value:
            found = f"{self.current_value} rows came, where the total is {totals[0]}"
            hint = "did rows change during the run? Run again; else check source.api.pagination"
            raise _error(response.url, found, hint)
