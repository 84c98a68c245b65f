"""The ``api`` source: JSON over HTTP through dlt's REST client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.errors import DataflowError

if TYPE_CHECKING:
    from dataflow_runtime.config.models import ApiSource

__all__ = ["read"]


def read(config: WorkflowConfig) -> Iterator[list[dict[str, Any]]]:
    """Yield the records of each page. Failed requests are sent again with backoff; ``Retry-After`` is honoured.

    Raises:
        DataflowError: The server cannot be reached, or answers with an error after the retries.
    """
    import requests
    from dlt.sources.helpers.requests import Client
    from dlt.sources.helpers.rest_client import RESTClient

    source = config.source.api
    assert source is not None
    session = Client(
        request_timeout=source.timeout, request_max_attempts=source.retries + 1, raise_for_status=False
    ).session
    client = RESTClient(
        base_url=source.url,
        headers=dict(source.headers),
        auth=_auth(source),
        paginator=_paginator(source),
        session=session,
    )
    pages = client.paginate(
        method=source.method,
        params=dict(source.params),
        json=source.json_,  # type: ignore[arg-type]  # a list is a JSON body, too
        data_selector=source.data_selector,
    )
    try:
        for page in pages:
            records = list(page)
            if not all(isinstance(record, dict) for record in records):
                raise DataflowError(
                    f"source.api: {source.url} yields {type(records[0]).__name__}, expected objects",
                    hint="source.api.data_selector is the JSONPath of the list of rows",
                )
            yield records
    except (requests.RequestException, ValueError) as error:
        response = getattr(error, "response", None)
        found = type(error).__name__ if response is None else f"HTTP {response.status_code} {response.reason}"
        raise DataflowError(f"source.api: {source.url}: {found}", hint="is the URL right, and the server up?") from None


def _auth(source: ApiSource) -> Any:
    from dlt.sources.helpers.rest_client import auth

    found = source.auth
    if found is None:
        return None
    if found.type == "bearer":
        return auth.BearerTokenAuth(found.token.get_secret_value())
    if found.type == "basic":
        return auth.HttpBasicAuth(found.username, found.password.get_secret_value())
    if found.type == "api_key":
        return auth.APIKeyAuth(found.name, found.value.get_secret_value(), found.location)
    return auth.OAuth2ClientCredentials(
        access_token_url=found.token_url,
        client_id=found.client_id,
        client_secret=found.client_secret.get_secret_value(),
        access_token_request_data={"grant_type": "client_credentials", "scope": " ".join(found.scopes)},
    )


def _paginator(source: ApiSource) -> Any:
    from dlt.sources.helpers.rest_client import paginators

    found = source.pagination
    if found.type == "link_header":
        return paginators.HeaderLinkPaginator()
    if found.type == "next_url":
        return paginators.JSONLinkPaginator(found.path)
    if found.type == "cursor":
        return paginators.JSONResponseCursorPaginator(found.path, found.param)
    if found.type == "offset":
        return paginators.OffsetPaginator(
            limit=found.limit,
            offset_param=found.offset_param,
            limit_param=found.limit_param,
            total_path=found.total_path,
        )
    if found.type == "page_number":
        return paginators.PageNumberPaginator(
            base_page=found.base_page, page_param=found.page_param, total_path=found.total_path
        )
    return paginators.SinglePagePaginator()
