"""The ``source`` section of the configuration: API, file, database and mock."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from dataflow_runtime.config.base import (
    Columns,
    ConfigModel,
    DatabaseUrl,
    Header,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Ratio,
    Secret,
    SecretText,
    Text,
    rule,
)


def _http_url(value: str) -> str:
    if not re.match(r"https?://[^/\s]", value):
        raise ValueError("expected a URL that begins with http:// or https://")
    return value


HttpUrl = Annotated[Header, AfterValidator(_http_url)]
Character = Annotated[str, Field(min_length=1, max_length=1)]


class BearerAuth(ConfigModel):
    """Bearer token in the ``Authorization`` header.

    Attributes:
        token: The token.
    """

    type: Literal["bearer"]
    token: Secret


class BasicAuth(ConfigModel):
    """User name and password (HTTP basic).

    Attributes:
        username: User name.
        password: Password.
    """

    type: Literal["basic"]
    username: Header
    password: SecretText


class ApiKeyAuth(ConfigModel):
    """A key in a header or in the query.

    Attributes:
        name: Name of the header or query parameter.
        value: The key.
        location: Where it is sent.
    """

    type: Literal["api_key"]
    name: Text = "X-API-Key"
    value: Secret
    location: Literal["header", "query"] = "header"


class OAuth2Auth(ConfigModel):
    """OAuth 2 client credentials.

    Attributes:
        token_url: URL that issues the access token.
        client_id: Client id.
        client_secret: Client secret.
        scopes: Scopes to ask for.
    """

    type: Literal["oauth2_client_credentials"]
    token_url: HttpUrl
    client_id: Text
    client_secret: Secret
    scopes: Columns = Field(default=[])


Auth = Annotated[BearerAuth | BasicAuth | ApiKeyAuth | OAuth2Auth, Field(discriminator="type")]


class NoPagination(ConfigModel):
    """One response holds all rows."""

    type: Literal["none"] = "none"


class _Pages(ConfigModel):
    """Several responses.

    Attributes:
        max_pages: Pages after which a run fails; none: no limit.
        max_empty_pages: Pages in a row without a new row after which a run fails.
    """

    max_pages: PositiveInt | None = None
    max_empty_pages: PositiveInt = 10


class _Parameters(_Pages):
    """Several responses, asked for by parameters.

    Attributes:
        location: Whether parameters go into the query or into the JSON body.
    """

    location: Literal["query", "body"] = "query"


class LinkHeaderPagination(_Pages):
    """The ``Link`` header holds the URL of the next page (RFC 8288)."""

    type: Literal["link_header"]


class NextUrlPagination(_Pages):
    """The response holds the URL of the next page.

    Attributes:
        path: JSONPath of the URL in the response.
    """

    type: Literal["next_url"]
    path: Text


class CursorPagination(_Parameters):
    """The response holds a cursor that the next request sends.

    Attributes:
        path: JSONPath of the cursor in the response.
        param: Parameter that sends it; in a body, a dotted path.
    """

    type: Literal["cursor"]
    path: Text
    param: Text = "cursor"


class OffsetPagination(_Parameters):
    """Offset and limit.

    Attributes:
        limit: Rows per request.
        offset_param: Parameter of the offset; in a body, a dotted path.
        limit_param: Parameter of the limit; in a body, a dotted path.
        total_path: JSONPath of the number of all rows; none: until a page is empty.
    """

    type: Literal["offset"]
    limit: PositiveInt = 100
    offset_param: Text = "offset"
    limit_param: Text = "limit"
    total_path: Text | None = None


class PageNumberPagination(_Parameters):
    """Page numbers.

    Attributes:
        page_param: Parameter of the page number; in a body, a dotted path.
        base_page: Number of the first page.
        total_path: JSONPath of the number of pages; none: until a page is empty.
    """

    type: Literal["page_number"]
    page_param: Text = "page"
    base_page: NonNegativeInt = 1
    total_path: Text | None = None


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
    """Query parameters that ask for the rows that a run reads: what is new, or a given range.

    Attributes:
        start_param: Parameter of the first moment, or value of the cursor.
        end_param: Parameter of the end; none: it is not asked for.
        format: How a moment is written: 2026-01-31T12:00:00Z, 2026-01-31, or since 1970.
    """

    start_param: Text
    end_param: Text | None = None
    format: Literal["iso", "date", "epoch_s", "epoch_ms"] = "iso"


class ApiSource(ConfigModel):
    """Rows of an HTTP API that answers with JSON.

    Attributes:
        url: URL of the first request (http or https).
        method: HTTP method.
        headers: Request headers.
        params: Query parameters.
        json_: Body of a POST request.
        auth: How requests are authenticated.
        pagination: How the next page is found.
        data_selector: JSONPath of the rows in a response; none: the only list of objects in it.
        incremental: How to ask for some of the rows; none: all are read, and the others dropped.
        timeout: Longest wait for a response, in seconds.
        max_seconds: Longest time for all requests of a run, in seconds; none: no limit.
        max_retries: How often a failed request is sent again.
        rate_limit: Most requests per second; none: no limit.
    """

    url: HttpUrl
    method: Literal["GET", "POST"] = "GET"
    headers: dict[str, Header] = Field(default={})
    params: dict[str, str | int | float | bool | None] = Field(default={})
    json_: dict[str, Any] | list[Any] | None = Field(default=None, alias="json")
    auth: Auth | None = None
    pagination: Pagination = NoPagination()
    data_selector: Text | None = None
    incremental: ApiIncremental | None = None
    timeout: PositiveFloat = 60.0
    max_seconds: PositiveFloat | None = None
    max_retries: NonNegativeInt = 5
    rate_limit: PositiveFloat | None = None

    @field_validator("pagination", mode="before")
    @classmethod
    def _null_is_none(cls, value: object) -> object:
        """Let an overlay say `pagination: null`."""
        return {"type": "none"} if value is None else value


class FileOptions(ConfigModel):
    """How text is read: delimited text, and the encoding of all text.

    Attributes:
        delimiter: Character between columns.
        quote_char: Quote; none: no quoting.
        encoding: Encoding of the text, of JSON as well: utf-8, latin-1, utf-16, cp1252, …
        has_header: Whether the first line names the columns.
        null_values: Texts that mean null.
        skip_rows: Lines to skip before the header.
        ragged_lines: Whether a line with more values than columns fails the run, or loses them.
    """

    delimiter: Character = ","
    quote_char: Character | None = '"'
    encoding: Text = "utf-8"
    has_header: bool = True
    null_values: list[str] = Field(default=[""])
    skip_rows: NonNegativeInt = 0
    ragged_lines: Literal["error", "truncate"] = "error"

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            # Codecs of Python that are not text, such as base64, raise as unknown ones do.
            "".encode(value)
        except LookupError:
            message = "expected a text encoding such as utf-8, latin-1, utf-16 or cp1252"
            raise ValueError(message) from None
        return value


class FileSource(ConfigModel):
    """Rows of files.

    Attributes:
        path: Path (relative to config.yaml), glob or URL (https, s3, gs, az, …).
        format: Format; none: by the suffix.
        records: JSONPath of the rows in a JSON document.
        options: How text is read.
    """

    path: Text
    format: Literal["csv", "jsonl", "json", "geojson", "parquet"] | None = None
    records: Text | None = None
    options: FileOptions = FileOptions()


class DatabaseSource(ConfigModel):
    """Rows of a table or query.

    Attributes:
        url: SQLAlchemy URL; a secret as a whole.
        table: Table to read.
        db_schema: Schema of the table; none: the default of the database.
        query: SELECT statement to read instead of a table.
        chunk_size: Rows fetched at a time.
    """

    url: DatabaseUrl
    table: Text | None = None
    db_schema: Text | None = Field(default=None, alias="schema")
    query: Text | None = None
    chunk_size: PositiveInt = 50_000

    @model_validator(mode="after")
    def _one_of_table_and_query(self) -> Self:
        if (self.table is None) == (self.query is None):
            found, path = ("neither", ()) if self.table is None else ("both", ("query",))
            message = f"expected either 'table' or 'query', found {found}"
            raise rule(message, *path, needs="source.database")
        return self


class MockSource(ConfigModel):
    """Generated rows, the same for the same seed.

    Attributes:
        rows: Rows to generate.
        seed: Seed of the generator.
        bad_ratio: Share of the rows that are faulty on purpose, 0 to 1.
    """

    rows: NonNegativeInt = 1_000
    seed: int = 0
    bad_ratio: Ratio = 0.0


class SourceConfig(ConfigModel):
    """Where rows come from.

    Attributes:
        name: Name of the source, for people.
        type: Which of the sections below is read.
        api: Settings of type api.
        file: Settings of type file.
        database: Settings of type database.
        mock: Settings of type mock.
    """

    name: str = ""
    type: Literal["api", "file", "database", "mock"]
    api: ApiSource | None = None
    file: FileSource | None = None
    database: DatabaseSource | None = None
    mock: MockSource = MockSource()

    @model_validator(mode="after")
    def _section_of_type(self) -> Self:
        if getattr(self, self.type) is None:
            first = {"api": "url: https://…", "file": "path: …", "database": "url: …"}[self.type]
            hint = f"add `{self.type}:` with `{first}` under `source:`"
            message = f"type is {self.type!r}, but there is no section {self.type!r}"
            raise rule(message, "type", hint=hint, needs=f"source.{self.type}")
        return self
