"""The ``source`` section of the configuration: API, file, database and mock."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from dataflow_runtime.config.base import (
    Columns,
    ConfigModel,
    JsonPath,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Ratio,
    Secret,
    Text,
    rule,
)

__all__ = [
    "ApiSource",
    "Auth",
    "DatabaseSource",
    "FileOptions",
    "FileSource",
    "MockSource",
    "Pagination",
    "SourceConfig",
]


def _http_url(value: str) -> str:
    if not re.match(r"https?://[^/\s]", value):
        raise ValueError("expected a URL that begins with http:// or https://")
    return value


def _database_url(value: SecretStr) -> SecretStr:
    if not re.match(r"[A-Za-z][\w+.-]*://", value.get_secret_value()):
        raise ValueError("expected a URL such as postgresql://user:password@host/database")
    return value


class BearerAuth(ConfigModel):
    """Bearer token in the ``Authorization`` header."""

    type: Literal["bearer"]
    token: Secret = Field(description="The token.")


class BasicAuth(ConfigModel):
    """User name and password (HTTP basic)."""

    type: Literal["basic"]
    username: str = Field(description="User name.")
    password: SecretStr = Field(description="Password.")


class ApiKeyAuth(ConfigModel):
    """A key in a header or in the query."""

    type: Literal["api_key"]
    name: Text = Field(default="X-API-Key", description="Name of the header or query parameter.")
    value: Secret = Field(description="The key.")
    location: Literal["header", "query"] = Field(default="header", description="Where it is sent.")


class OAuth2Auth(ConfigModel):
    """OAuth 2 client credentials."""

    type: Literal["oauth2_client_credentials"]
    token_url: Annotated[
        str, BeforeValidator(lambda value: _http_url(value) if isinstance(value, str) else value)
    ] = Field(description="Where the access token is asked for (URL).")
    client_id: Text = Field(description="Client id.")
    client_secret: Secret = Field(description="Client secret.")
    scopes: Columns = Field(default=[], description="Scopes to ask for.")


Auth = Annotated[BearerAuth | BasicAuth | ApiKeyAuth | OAuth2Auth, Field(discriminator="type")]


_Location = Annotated[
    Literal["query", "body"],
    Field(description="Whether parameters go into the query or into the JSON body."),
]


class NoPagination(ConfigModel):
    """One response holds all rows."""

    type: Literal["none"] = "none"


class _Pages(ConfigModel):
    """The limits of all kinds of pagination."""

    max_pages: PositiveInt | None = Field(
        default=None, description="Pages after which a run fails; none: no limit."
    )
    max_empty_pages: PositiveInt = Field(
        default=10, description="Pages in a row without a new row after which a run fails."
    )


class LinkHeaderPagination(_Pages):
    """The next page's URL stands in the ``Link`` header (RFC 8288)."""

    type: Literal["link_header"]


class NextUrlPagination(_Pages):
    """The next page's URL stands in the response."""

    type: Literal["next_url"]
    path: JsonPath = Field(description="JSONPath of the URL in the response.")


class CursorPagination(_Pages):
    """The response holds a cursor that the next request sends."""

    type: Literal["cursor"]
    path: JsonPath = Field(description="JSONPath of the cursor in the response.")
    param: Text = Field(
        default="cursor", description="Parameter that sends it; in a body, a dotted path."
    )
    location: _Location = "query"


class OffsetPagination(_Pages):
    """Offset and limit."""

    type: Literal["offset"]
    limit: PositiveInt = Field(default=100, description="Rows per request.")
    offset_param: Text = Field(
        default="offset", description="Parameter of the offset; in a body, a dotted path."
    )
    limit_param: Text = Field(
        default="limit", description="Parameter of the limit; in a body, a dotted path."
    )
    location: _Location = "query"
    total_path: JsonPath | None = Field(
        default=None, description="JSONPath of the number of all rows; none: until a page is empty."
    )


class PageNumberPagination(_Pages):
    """Page numbers."""

    type: Literal["page_number"]
    page_param: Text = Field(
        default="page", description="Parameter of the page number; in a body, a dotted path."
    )
    location: _Location = "query"
    base_page: NonNegativeInt = Field(default=1, description="Number of the first page.")
    total_path: JsonPath | None = Field(
        default=None, description="JSONPath of the number of pages; none: until a page is empty."
    )


Pagination = Annotated[
    NoPagination
    | LinkHeaderPagination
    | NextUrlPagination
    | CursorPagination
    | OffsetPagination
    | PageNumberPagination,
    Field(discriminator="type"),
]


class ApiIncremental(ConfigModel):
    """Query parameters that ask for the rows a run reads: what is new, or the range of a partition or a backfill."""

    start_param: Text = Field(description="Parameter of the first moment, or value of the cursor.")
    end_param: Text | None = Field(
        default=None, description="Parameter of the end; none: it is not asked for."
    )
    format: Literal["iso", "date", "epoch_s", "epoch_ms"] = Field(
        default="iso",
        description="How a moment is written: 2026-01-31T12:00:00Z, 2026-01-31, or since 1970.",
    )


class ApiSource(ConfigModel):
    """Rows of an HTTP API that answers with JSON."""

    url: str = Field(description="URL of the first request (http or https).")
    method: Literal["GET", "POST"] = Field(default="GET", description="HTTP method.")
    headers: dict[str, str] = Field(default={}, description="Request headers.")
    params: dict[str, str | int | float | bool | None] = Field(
        default={}, description="Query parameters."
    )
    json_: dict[str, Any] | list[Any] | None = Field(
        None, alias="json", description="Body of a POST request."
    )
    auth: Auth | None = Field(default=None, description="How requests are authenticated.")
    pagination: Pagination = Field(
        default=NoPagination(), description="How the next page is found."
    )
    data_selector: JsonPath | None = Field(
        default=None, description="JSONPath of the rows in a response; none: found by itself."
    )
    incremental: ApiIncremental | None = Field(
        default=None,
        description="How only a part of the rows is asked for; none: all are, and the rest is dropped.",
    )
    timeout: PositiveFloat = Field(
        default=60.0, description="Longest wait for a response, in seconds."
    )
    max_seconds: PositiveFloat | None = Field(
        default=None,
        description="Longest time for all requests of a run, in seconds; none: no limit.",
    )
    max_retries: NonNegativeInt = Field(
        default=5, description="Times that a failed request is sent again."
    )
    rate_limit: PositiveFloat | None = Field(
        default=None, description="Most requests per second; none: no limit."
    )

    _check_url = field_validator("url")(_http_url)


class FileOptions(ConfigModel):
    """How text is read: delimited text, and the encoding of all."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        default=",", description="Character between columns."
    )
    quote_char: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        default='"', description="Quote; none: no quoting."
    )
    encoding: Text = Field(
        default="utf-8",
        description="Encoding of the text, of JSON as well: utf-8, latin-1, utf-16, cp1252, …",
    )
    has_header: bool = Field(default=True, description="Whether the first line names the columns.")
    null_values: list[str] = Field(default=[""], description="Texts that stand for null.")
    skip_rows: NonNegativeInt = Field(default=0, description="Lines to skip before the header.")
    ragged_lines: Literal["error", "truncate"] = Field(
        default="error",
        description="A line with more values than columns fails the run, or loses them.",
    )

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            # Python's codecs that are no text, such as base64, raise as unknown ones do.
            "".encode(value)
        except LookupError:
            raise ValueError(
                "expected a text encoding such as utf-8, latin-1, utf-16 or cp1252"
            ) from None
        return value


class FileSource(ConfigModel):
    """Rows of files."""

    path: Text = Field(
        description="Path (relative to config.yaml), glob or URL (https, s3, gs, az, …)."
    )
    format: Literal["csv", "jsonl", "json", "geojson", "parquet"] | None = Field(
        default=None, description="Format; none: by the suffix."
    )
    records: JsonPath | None = Field(
        default=None, description="JSONPath of the rows in a JSON document."
    )
    options: FileOptions = Field(default=FileOptions(), description="How text is read.")


class DatabaseSource(ConfigModel):
    """Rows of a table or query."""

    url: Annotated[SecretStr, Field(min_length=1)] = Field(
        description="SQLAlchemy URL; a secret as a whole."
    )
    table: Text | None = Field(default=None, description="Table to read.")
    db_schema: Text | None = Field(
        default=None,
        alias="schema",
        description="Schema of the table; none: the database's default.",
    )
    query: Text | None = Field(
        default=None, description="SELECT statement to read instead of a table."
    )
    chunk_size: PositiveInt = Field(default=50_000, description="Rows fetched at a time.")

    _check_url = field_validator("url")(_database_url)

    @model_validator(mode="after")
    def _one_of_table_and_query(self) -> Self:
        if (self.table is None) == (self.query is None):
            found = "neither" if self.table is None else "both"
            raise rule(
                f"expected either 'table' or 'query', found {found}",
                *([] if self.table is None else ["query"]),
            )
        return self


class MockSource(ConfigModel):
    """Generated rows, the same for the same seed."""

    rows: NonNegativeInt = Field(default=1_000, description="Rows to generate.")
    seed: int = Field(default=0, description="Seed of the generator.")
    bad_ratio: Ratio = Field(
        default=0.0, description="Part of the rows that are faulty on purpose, 0 to 1."
    )


class SourceConfig(ConfigModel):
    """Where rows come from."""

    name: str = Field(default="", description="Name of the source, for people.")
    type: Literal["api", "file", "database", "mock"] = Field(
        description="Which of the sections below is read."
    )
    api: ApiSource | None = Field(default=None, description="Settings of type api.")
    file: FileSource | None = Field(default=None, description="Settings of type file.")
    database: DatabaseSource | None = Field(default=None, description="Settings of type database.")
    mock: MockSource = Field(default=MockSource(), description="Settings of type mock.")

    @model_validator(mode="after")
    def _section_of_type(self) -> Self:
        if getattr(self, self.type) is None:
            first = {"api": "url: https://…", "file": "path: …", "database": "url: …"}[self.type]
            raise rule(
                f"type is {self.type!r}, but there is no section {self.type!r}",
                "type",
                hint=f"add `{self.type}:` with `{first}` under `source:`",
            )
        return self
