"""The ``api`` source: JSON over HTTP through dlt's REST client."""

from __future__ import annotations

import copy
import hashlib
import marshal
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from dlt.common import jsonpath
from dlt.sources.helpers.requests import Client
from dlt.sources.helpers.rest_client import RESTClient, auth, paginators
from dlt.sources.helpers.rest_client.detector import find_response_page_data
from jsonpath_ng.exceptions import JSONPathError
from requests.adapters import HTTPAdapter

from dataflow_runtime.config import Window, WorkflowConfig
from dataflow_runtime.config.secrets import mask, remember_secrets
from dataflow_runtime.errors import DataflowError, TransientError

if TYPE_CHECKING:
    from dataflow_runtime.config.models import ApiSource

__all__ = ["read"]

BACKOFF = 1.0
"""Seconds before the first retry; each further one waits twice as long."""

_LONGEST_WAIT = 3600.0
"""Seconds beyond which a server's ``Retry-After`` is not waited for."""

_HINTS = {
    401: "check source.api.auth",
    403: "check source.api.auth: the server knows the request, and refuses it",
    404: "check source.api.url",
    429: "lower source.api.rate_limit, or raise source.api.max_retries",
}


def read(config: WorkflowConfig) -> Iterator[list[dict[str, Any]]]:
    """Yield the records of the pages in batches; a failed request is sent again with backoff, after ``Retry-After``.

    Raises:
        DataflowError: The server cannot be reached, answers with an error after the retries, or sends a page again.
    """
    source = config.source.api
    assert source is not None
    remember_secrets(_secrets(source))
    try:
        client, selector = (
            _Client(source),
            source.data_selector and jsonpath.compile_path(source.data_selector),
        )
    except JSONPathError as error:
        raise DataflowError(
            f"source.api: data_selector or a path of pagination is not a JSONPath: {error}",
            hint="for example $.data[*]",
        ) from None
    try:
        pages = client.paginate(
            source.url,
            method=source.method,
            params={**source.params, **_bounds(source, config.window)},
            json=copy.deepcopy(source.json_),  # type: ignore[arg-type]  # a list is a JSON body, too
            data_selector=selector,
        )
        seen: set[bytes] = set()
        records: list[dict[str, Any]] = []
        for page in pages:
            _refuse_repetition(page, seen)
            _refuse_another_host(page, source)
            # Many small pages make one frame: the type of a column is that of its values in all of them.
            records += page
            if len(records) >= config.processing.batch_size:
                yield records
                records = []
        yield records
    except requests.JSONDecodeError as error:
        kind = client.kind
        raise DataflowError(
            _message(client.url, f"the answer is not valid JSON ({kind}): {error}"),
            hint="source.api.url has to be the address of a JSON API; is a proxy or a login page in between?",
        ) from None
    except requests.RequestException as error:
        raise _request_error(error, source, client.url) from None
    except (ValueError, TypeError) as error:
        # How dlt reports a total that is missing or no number.
        raise DataflowError(
            _message(client.url, str(error)[:300]), hint="check source.api.pagination"
        ) from None


def _bounds(source: ApiSource, window: Window | None) -> dict[str, Any]:
    """Return the query parameters that ask for the rows of a run's window."""
    asked = source.incremental
    if asked is None or window is None:
        return {}
    bounds = {asked.start_param: window.start} | (
        {asked.end_param: window.end} if asked.end_param else {}
    )
    return {
        name: _moment(value, asked.format) for name, value in bounds.items() if value is not None
    }


def _moment(value: Any, format_: str) -> Any:
    """Return a bound as the server reads it; what is no moment, such as a number, as it is."""
    if not isinstance(value, date):
        return value
    if format_ == "date":
        return f"{value:%Y-%m-%d}"
    moment = (
        value
        if isinstance(value, datetime)
        else datetime(value.year, value.month, value.day, tzinfo=UTC)
    )
    if format_ == "iso":
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return int(moment.timestamp() * (1 if format_ == "epoch_s" else 1000))


class _Client(RESTClient):
    """dlt's client, with clear errors for answers without rows, and parsing each JSONPath and each answer once.

    Attributes:
        url: The address last asked, be it for a token.
        kind: The content type of its answer.
    """

    def __init__(self, source: ApiSource) -> None:
        self.url = source.url
        self.kind = "no Content-Type"
        self._selected = False
        session = Client(
            request_timeout=source.timeout,
            request_max_attempts=source.max_retries + 1,
            request_backoff_factor=BACKOFF,
            request_max_retry_delay=_LONGEST_WAIT,
            raise_for_status=False,
        ).session
        adapter = _Adapter(self, source)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        super().__init__(
            base_url=source.url,
            headers=dict(source.headers),
            auth=_auth(source, session),
            paginator=_paginator(source),
            session=session,
        )

    def detect_data_selector(self, response: requests.Response) -> Any:
        path, rows = find_response_page_data(_parsed_once(response))
        if path == ("$",) or any(not isinstance(row, dict) for row in rows[:1]):
            return jsonpath.compile_path("$")
        # Keys are quoted: a dash or a space in one is no operator.
        return jsonpath.compile_path(".".join(f'"{key}"' for key in path))

    def extract_response(self, response: requests.Response, data_selector: Any) -> list[Any]:
        document = _parsed_once(response)
        records: list[Any] = super().extract_response(response, data_selector)
        if not all(isinstance(record, dict) for record in records):
            found = next(record for record in records if not isinstance(record, dict))
            raise DataflowError(
                _message(response.url, f"yields {type(found).__name__}, expected objects"),
                hint="source.api.data_selector is the JSONPath of the list of rows",
            )
        if not records and not self._selected:
            # A page without rows is none's mistake; a selector beside the rows is.
            path, rows = find_response_page_data(document)
            if isinstance(rows, list) and rows and isinstance(rows[0], dict):
                raise DataflowError(
                    _message(
                        response.url, f"nothing at source.api.data_selector {str(data_selector)!r}"
                    ),
                    hint=f"the answer has {len(rows)} rows at {'.'.join(path)!r}",
                )
        self._selected = self._selected or bool(records)
        return records


class _Adapter(HTTPAdapter):
    """Sends requests, retries and redirects: at the pace of ``rate_limit``, credentials to their own host only."""

    def __init__(self, client: _Client, source: ApiSource) -> None:
        super().__init__()
        self._client, self._next = client, 0.0
        self._interval = 1 / source.rate_limit if source.rate_limit else 0.0
        self._home = {
            _origin(url) for url in (source.url, getattr(source.auth, "token_url", source.url))
        }
        # requests itself drops `Authorization` from a redirect to another host, and nothing else.
        self._private = {
            "Authorization",
            "Cookie",
            *source.headers,
            getattr(source.auth, "name", "Authorization"),
        }

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        if self._interval:
            time.sleep(max(0.0, self._next - time.monotonic()))
            self._next = time.monotonic() + self._interval
        if _origin(request.url or "") not in self._home:
            for name in self._private:
                request.headers.pop(name, None)
        self._client.url = request.url or self._client.url
        response = super().send(request, *args, **kwargs)
        self._client.kind = response.headers.get("Content-Type", "no Content-Type")
        return response


class _ClientCredentials(auth.OAuth2ClientCredentials):
    """As dlt's, but an answer without a token is an error, not the token ``None``."""

    def parse_access_token(self, response_json: Any) -> str:
        token = response_json.get("access_token") if isinstance(response_json, dict) else None
        if not isinstance(token, str) or not token:
            raise DataflowError(
                _message(self.access_token_url, "the answer holds no access_token"),
                hint="check source.api.auth",
            )
        remember_secrets([token])
        return token

    def parse_expiration_in_seconds(self, response_json: Any) -> int:
        seconds = response_json.get("expires_in")
        return self.default_token_expiration if seconds is None else int(seconds)


def _parsed_once(response: requests.Response) -> Any:
    """Return the document; dlt parses an answer again for each path that it looks up."""
    document = response.json()
    response.json = lambda **_: document  # type: ignore[method-assign]
    return document


def _refuse_repetition(page: Any, seen: set[bytes]) -> None:
    """Raise if the page, or the request for the next one, has been there before: it would go on for ever."""
    request, records = page.request, list(page)
    if records:
        _refuse_if_seen(
            seen,
            ["rows", records],
            f"{page.response.url}: the page repeats an earlier one, row by row",
        )
    if page.paginator.has_next_page:
        next_page = ["request", request.url, request.params, request.json]
        _refuse_if_seen(
            seen, next_page, f"{page.response.url}: names a next page that has been read already"
        )


def _refuse_another_host(page: Any, source: ApiSource) -> None:
    """Raise if the next page would take the credentials to a server that they are not for."""
    url = page.request.url
    if (
        page.paginator.has_next_page
        and (source.auth or source.headers)
        and _origin(url) != _origin(source.url)
    ):
        raise DataflowError(
            _message(page.response.url, f"the next page is at {_origin(url)}, another host"),
            hint="source.api.auth and headers are sent to the host of source.api.url only; nothing was loaded",
        )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or {'http': 80, 'https': 443}.get(parts.scheme)}".lower()


def _refuse_if_seen(seen: set[bytes], content: Any, message: str) -> None:
    # Version 2 depends on values only, not on which of them are one object; it takes a tenth of the time of JSON.
    digest = hashlib.blake2b(marshal.dumps(content, 2), digest_size=16).digest()
    if digest in seen:
        raise DataflowError(
            mask(f"source.api: {message}"),
            hint="does source.api.pagination name the parameters that this API takes? Nothing was loaded",
        )
    seen.add(digest)


def _request_error(error: requests.RequestException, source: ApiSource, url: str) -> DataflowError:
    response = error.response
    if response is None:
        tries = f" after {source.max_retries + 1} tries"
        if isinstance(error, requests.Timeout):
            return TransientError(
                _message(url, f"no answer within {source.timeout:g} s{tries}"),
                hint="raise source.api.timeout, or run again later",
            )
        if isinstance(
            error, requests.exceptions.ConnectionError | requests.exceptions.ChunkedEncodingError
        ):
            reason = _root_cause(error)
            return TransientError(
                _message(url, f"no connection, or lost{tries}: {reason}"),
                hint="is source.api.url right, and the server up? Then run again: nothing was loaded",
            )
        return DataflowError(
            _message(url, f"{type(error).__name__}: {error}"), hint="check source.api"
        )
    status = response.status_code
    body = " ".join(response.text.split())[:200]
    retried = f" after {source.max_retries + 1} tries" if status == 429 or status >= 500 else ""
    default = (
        "the server's fault; run again later: nothing was loaded"
        if status >= 500
        else "check source.api"
    )
    error_type = TransientError if status == 429 or status >= 500 else DataflowError
    return error_type(
        _message(
            response.url, f"HTTP {status} {response.reason}{retried}{': ' + body if body else ''}"
        ),
        hint=_HINTS.get(status, default),
    )


def _root_cause(error: BaseException) -> str:
    # urllib3 wraps the one word that matters, such as "Connection refused", in three exceptions.
    cause: BaseException = error
    while (
        inner := getattr(cause, "reason", None) or (cause.args[-1] if cause.args else None)
    ) is not None:
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return f"{type(cause).__name__}: {cause}".split("object at 0x")[0][:200]


def _message(url: str, reason: str) -> str:
    return mask(f"source.api: {url}: {reason}")


def _secrets(source: ApiSource) -> Iterator[str]:
    for name in ("token", "password", "value", "client_secret"):
        if (secret := getattr(source.auth, name, None)) is not None:
            yield secret.get_secret_value()


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


def _paginator(source: ApiSource) -> Any:
    found = source.pagination
    if found.type == "link_header":
        return paginators.HeaderLinkPaginator()
    if found.type == "next_url":
        return paginators.JSONLinkPaginator(found.path)
    if found.type == "none":
        return paginators.SinglePagePaginator()
    # Named after where it goes: offset_param or offset_body_path.
    kind = "param" if found.location == "query" else "body_path"
    names: dict[str, Any]
    if found.type == "cursor":
        names = {f"cursor_{kind}": found.param}
        return paginators.JSONResponseCursorPaginator(found.path, **names)
    if found.type == "offset":
        names = {f"offset_{kind}": found.offset_param, f"limit_{kind}": found.limit_param}
        return paginators.OffsetPaginator(limit=found.limit, total_path=found.total_path, **names)
    names = {f"page_{kind}": found.page_param}
    return paginators.PageNumberPaginator(
        base_page=found.base_page, total_path=found.total_path, **names
    )
