"""The configuration of a workflow as strict pydantic models: every key, its type, unit, default and rules.

A workflow may bring a subclass of `WorkflowConfig` through the entry-point group ``dataflow.config_models``.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from dataflow_runtime.config.schedule import cron_problem
from dataflow_runtime.config.secrets import MASK, is_secret_key, mask
from dataflow_runtime.errors import did_you_mean

__all__ = [
    "ApiSource",
    "Auth",
    "ConfigModel",
    "Cursor",
    "DatabaseSource",
    "FileOptions",
    "FileSource",
    "MockSource",
    "OutputConfig",
    "Pagination",
    "ProcessingConfig",
    "RetryConfig",
    "ScheduleConfig",
    "SourceConfig",
    "WorkflowConfig",
]


def rule(message: str, *path: str, hint: str | None = None) -> PydanticCustomError:
    """Return the error of a rule between keys; `path` leads from the model to the key it points at."""
    # Braces would be read as a template's.
    return PydanticCustomError("config_rule", "{message}", {"message": message, "path": path, "hint": hint})


class ConfigModel(BaseModel):
    """A section: immutable, strict, no unknown keys, and no secret in its `repr` or in errors."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    def __repr_args__(self) -> Any:
        """Return what `repr` shows, secrets masked."""
        return [(key, _masked(key or "", value)) for key, value in super().__repr_args__()]


def _masked(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _masked(str(name), child) for name, child in value.items()}
    if isinstance(value, list):
        return [_masked(key, child) for child in value]
    if isinstance(value, str):
        return MASK if is_secret_key(key) else mask(value)
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _lookback(value: object) -> object:
    if isinstance(value, str):
        parts = _DURATION.findall(value)
        if not parts or _DURATION.sub("", value).strip():
            raise ValueError("expected a number or a duration such as '3d', '12h' or '1d 6h'")
        try:
            return sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())
        except OverflowError:
            raise ValueError("the duration is too long") from None
    return value


def _duration_text(value: timedelta | float) -> str | float:
    if not isinstance(value, timedelta):
        return value
    seconds, parts = value.total_seconds(), []
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count = seconds / length if unit == "s" else seconds // length
        if count:
            parts.append(f"{count:g}{unit}")
            seconds -= count * length
    return " ".join(parts) or "0s"


def _iso_date(value: object) -> object:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError("expected a date such as 2026-01-31") from None
    return value


def _http_url(value: str) -> str:
    if not re.match(r"https?://[^/\s]", value):
        raise ValueError("expected a URL that begins with http:// or https://")
    return value


def _database_url(value: SecretStr) -> SecretStr:
    if not re.match(r"[A-Za-z][\w+.-]*://", value.get_secret_value()):
        raise ValueError("expected a URL such as postgresql://user:password@host/database")
    return value


def _postgres_url(value: SecretStr) -> SecretStr:
    if not re.match(r"postgres(ql)?(\+\w+)?://", value.get_secret_value()):
        raise ValueError("expected a URL that begins with postgresql://")
    return value


Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
JsonPath = Annotated[str, Field(min_length=1)]
PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Ratio = Annotated[float, Field(ge=0, le=1)]
# What PostgreSQL and dlt take without quoting or renaming.
Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=63)]
Columns = Annotated[
    list[Text],
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}),
]
Lookback = Annotated[
    timedelta | NonNegativeFloat,
    BeforeValidator(_lookback),
    PlainSerializer(_duration_text, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}),
]
Day = Annotated[date, BeforeValidator(_iso_date), WithJsonSchema({"type": "string", "format": "date"})]
ColumnType = Literal[
    "string", "integer", "float", "decimal", "boolean", "date", "timestamp", "epoch_s", "epoch_ms", "json"
]


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
    token_url: Annotated[str, BeforeValidator(lambda value: _http_url(value) if isinstance(value, str) else value)] = (
        Field(description="Where the access token is asked for (URL).")
    )
    client_id: Text = Field(description="Client id.")
    client_secret: Secret = Field(description="Client secret.")
    scopes: Columns = Field(default=[], description="Scopes to ask for.")


Auth = Annotated[BearerAuth | BasicAuth | ApiKeyAuth | OAuth2Auth, Field(discriminator="type")]


class NoPagination(ConfigModel):
    """One response holds all rows."""

    type: Literal["none"] = "none"


class LinkHeaderPagination(ConfigModel):
    """The next page's URL stands in the ``Link`` header (RFC 8288)."""

    type: Literal["link_header"]


class NextUrlPagination(ConfigModel):
    """The next page's URL stands in the response."""

    type: Literal["next_url"]
    path: JsonPath = Field(description="JSONPath of the URL in the response.")


class CursorPagination(ConfigModel):
    """The response holds a cursor that the next request sends."""

    type: Literal["cursor"]
    path: JsonPath = Field(description="JSONPath of the cursor in the response.")
    param: Text = Field(default="cursor", description="Query parameter that sends it.")


class OffsetPagination(ConfigModel):
    """Offset and limit."""

    type: Literal["offset"]
    limit: PositiveInt = Field(default=100, description="Rows per request.")
    offset_param: Text = Field(default="offset", description="Query parameter of the offset.")
    limit_param: Text = Field(default="limit", description="Query parameter of the limit.")
    total_path: JsonPath | None = Field(
        default=None, description="JSONPath of the number of all rows; none: until a page is empty."
    )


class PageNumberPagination(ConfigModel):
    """Page numbers."""

    type: Literal["page_number"]
    page_param: Text = Field(default="page", description="Query parameter of the page number.")
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


class ApiSource(ConfigModel):
    """Rows of an HTTP API that answers with JSON."""

    url: str = Field(description="URL of the first request (http or https).")
    method: Literal["GET", "POST"] = Field(default="GET", description="HTTP method.")
    headers: dict[str, str] = Field(default={}, description="Request headers.")
    params: dict[str, str | int | float | bool | None] = Field(default={}, description="Query parameters.")
    json_: dict[str, Any] | list[Any] | None = Field(None, alias="json", description="Body of a POST request.")
    auth: Auth | None = Field(default=None, description="How requests are authenticated.")
    pagination: Pagination = Field(default=NoPagination(), description="How the next page is found.")
    data_selector: JsonPath | None = Field(
        default=None, description="JSONPath of the rows in a response; none: found by itself."
    )
    timeout: PositiveFloat = Field(default=60.0, description="Longest wait for a response, in seconds.")
    retries: NonNegativeInt = Field(default=5, description="Times that a failed request is sent again.")
    rate_limit: PositiveFloat | None = Field(default=None, description="Most requests per second; none: no limit.")

    _check_url = field_validator("url")(_http_url)


class FileOptions(ConfigModel):
    """How delimited text is read."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        default=",", description="Character between columns."
    )
    quote_char: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        default='"', description="Quote; none: no quoting."
    )
    encoding: Text = Field(default="utf-8", description="Text encoding.")
    has_header: bool = Field(default=True, description="Whether the first line names the columns.")
    null_values: list[str] = Field(default=[""], description="Texts that stand for null.")
    skip_rows: NonNegativeInt = Field(default=0, description="Lines to skip before the header.")


class FileSource(ConfigModel):
    """Rows of files."""

    path: Text = Field(description="Path (relative to config.yaml), glob or URL (https, s3, gs, az).")
    format: Literal["csv", "jsonl", "json", "geojson", "parquet"] | None = Field(
        default=None, description="Format; none: by the suffix."
    )
    records: JsonPath | None = Field(default=None, description="JSONPath of the rows in a JSON document.")
    options: FileOptions = Field(default=FileOptions(), description="How delimited text is read.")


class DatabaseSource(ConfigModel):
    """Rows of a table or query."""

    url: Annotated[SecretStr, Field(min_length=1)] = Field(description="SQLAlchemy URL; a secret as a whole.")
    table: Text | None = Field(default=None, description="Table to read.")
    db_schema: Text | None = Field(
        default=None, alias="schema", description="Schema of the table; none: the database's default."
    )
    query: Text | None = Field(default=None, description="SELECT statement to read instead of a table.")
    chunk_size: PositiveInt = Field(default=50_000, description="Rows fetched at a time.")

    _check_url = field_validator("url")(_database_url)

    @model_validator(mode="after")
    def _one_of_table_and_query(self) -> Self:
        if (self.table is None) == (self.query is None):
            found = "neither" if self.table is None else "both"
            raise rule(f"expected either 'table' or 'query', found {found}", *([] if self.table is None else ["query"]))
        return self


class MockSource(ConfigModel):
    """Generated rows, the same for the same seed."""

    rows: NonNegativeInt = Field(default=1_000, description="Rows to generate.")
    seed: int = Field(default=0, description="Seed of the generator.")
    bad_ratio: Ratio = Field(default=0.0, description="Part of the rows that are faulty on purpose, 0 to 1.")


class SourceConfig(ConfigModel):
    """Where rows come from."""

    name: str = Field(default="", description="Name of the source, for people.")
    type: Literal["api", "file", "database", "mock"] = Field(description="Which of the sections below is read.")
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


class Cursor(ConfigModel):
    """Incremental extraction: only rows whose cursor lies above the warehouse's highest."""

    column: Text = Field(description="Column that grows: a timestamp or a number.")
    lookback: Lookback = Field(
        default=0.0, description="How far below the highest value to read again: a duration ('3d', '12h') or a number."
    )


class ProcessingConfig(ConfigModel):
    """How rows are handled on their way."""

    batch_size: PositiveInt = Field(default=50_000, description="Rows handled at a time; bounds memory.")
    primary_key: Columns = Field(
        default=[], description="Columns that identify a row; a single name may stand for a list."
    )
    cursor: Cursor | None = Field(default=None, description="Incremental extraction; none: all rows each time.")
    columns: dict[str, ColumnType] = Field(default={}, description="Types of the source's columns, by name.")
    max_rejected_ratio: Ratio = Field(
        default=1.0, description="Part of rejected rows above which a run fails before loading, 0 to 1."
    )

    @model_validator(mode="after")
    def _cursor_is_a_column(self) -> Self:
        if self.cursor and self.columns and self.cursor.column not in self.columns:
            column = self.cursor.column
            hint = did_you_mean(column, self.columns) or f"add `{column}: timestamp` (or its type) to `columns`"
            raise rule(f"{column!r} is not one of 'processing.columns'", "cursor", "column", hint=hint)
        return self


class DuckDBOutput(ConfigModel):
    """The embedded warehouse."""

    path: Text | None = Field(default=None, description="Database file; none: $DATAFLOW_HOME/<workflow>.duckdb.")


class PostgresOutput(ConfigModel):
    """A PostgreSQL warehouse."""

    url: SecretStr = Field(description="postgresql://user:password@host:port/database; a secret as a whole.")

    _check_url = field_validator("url")(_postgres_url)


class OutputConfig(ConfigModel):
    """Where rows go."""

    warehouse: Literal["duckdb", "postgres"] = Field(default="duckdb", description="Kind of warehouse.")
    schema_: Identifier = Field(
        default="raw", alias="schema", description="Schema of the loaded table; default <workflow>_raw."
    )
    table: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=54)] = Field(
        default="rows",
        description="Table that rows are loaded into; default <workflow>. Rejected rows go to <table>_rejected.",
    )
    marts_schema: Identifier = Field(default="marts", description="Schema of the dbt models; default <workflow>_marts.")
    write_disposition: Literal["merge", "append", "replace"] = Field(
        default="append",
        description="What happens to rows already there; default merge with a primary key, else append.",
    )
    schema_contract: Literal["evolve", "freeze"] = Field(
        default="evolve", description="New columns and changed types: evolve the table, or freeze it and fail."
    )
    duckdb: DuckDBOutput = Field(default=DuckDBOutput(), description="Settings of warehouse duckdb.")
    postgres: PostgresOutput | None = Field(default=None, description="Settings of warehouse postgres.")

    @model_validator(mode="after")
    def _postgres_has_a_url(self) -> Self:
        if self.warehouse == "postgres" and self.postgres is None:
            hint = "add `postgres:` with `url: ${WAREHOUSE_URL}` under `output:`"
            raise rule("warehouse is 'postgres', but there is no section 'postgres'", "warehouse", hint=hint)
        return self


class ScheduleConfig(ConfigModel):
    """When it runs."""

    cron: str | None = Field(
        default=None, description="Cron expression of five fields, or an alias such as @daily; none: the decorator's."
    )
    timezone: str = Field(default="UTC", description="IANA time zone of the cron expression.")
    partitions: Literal["hourly", "daily", "weekly", "monthly"] | None = Field(
        default=None, description="Time window of a partition; none: not partitioned."
    )
    partitions_start: Day | None = Field(default=None, description="First day that has a partition (YYYY-MM-DD).")

    @field_validator("cron")
    @classmethod
    def _fires(cls, value: str | None) -> str | None:
        if value is not None and (problem := cron_problem(value)):
            raise ValueError(problem)
        return value

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        from zoneinfo import ZoneInfo, available_timezones

        try:
            # A machine without a time zone database knows UTC all the same.
            if value != "UTC":
                ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            hint = did_you_mean(value, available_timezones()) or "use an IANA name such as Europe/Berlin"
            raise rule(f"expected a time zone, found {value!r}", hint=hint) from None
        return value

    @model_validator(mode="after")
    def _partitions_begin(self) -> Self:
        if self.partitions and self.partitions_start is None:
            raise rule("partitions need a 'partitions_start'", "partitions", hint="add `partitions_start: 2026-01-01`")
        return self


class RetryConfig(ConfigModel):
    """What happens when a step fails."""

    max_retries: NonNegativeInt = Field(default=0, description="Times that a failed step is tried again.")
    delay: NonNegativeFloat = Field(default=1.0, description="Wait before the first retry, in seconds.")
    backoff: Literal["none", "linear", "exponential"] = Field(default="none", description="How the wait grows.")


class WorkflowConfig(ConfigModel):
    """The configuration of a workflow."""

    source: SourceConfig = Field(description="Where rows come from.")
    processing: ProcessingConfig = Field(default=ProcessingConfig(), description="How rows are handled on their way.")
    output: OutputConfig = Field(default=OutputConfig(), description="Where rows go.")
    schedule: ScheduleConfig = Field(default=ScheduleConfig(), description="When it runs.")
    retries: RetryConfig = Field(default=RetryConfig(), description="What happens when a step fails.")

    _workflow: str = PrivateAttr("")
    _root: Path = PrivateAttr(Path())

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self._workflow

    @property
    def root(self) -> Path:
        """The folder of ``config.yaml``, which relative paths in it start from."""
        return self._root

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_workflow(cls, values: Any, info: ValidationInfo) -> Any:
        """Fill in the defaults that depend on the workflow's name and on other sections."""
        if not isinstance(values, dict) or not isinstance(values.get("output", {}), dict):
            return values
        defaults: dict[str, Any] = {}
        if name := (info.context or {}).get("workflow", "").lower():
            defaults = {"schema": f"{name}_raw", "table": name, "marts_schema": f"{name}_marts"}
        processing = values.get("processing")
        if isinstance(processing, dict) and processing.get("primary_key"):
            defaults["write_disposition"] = "merge"
        return {**values, "output": {**defaults, **values.get("output", {})}}

    @model_validator(mode="after")
    def _merge_has_a_key(self, info: ValidationInfo) -> Self:
        if self.output.write_disposition == "merge" and not self.processing.primary_key:
            hint = "set the primary key, or write_disposition: append"
            raise rule("'merge' needs 'processing.primary_key'", "output", "write_disposition", hint=hint)
        context = info.context or {}
        self._workflow, self._root = context.get("workflow", ""), context.get("root", Path())
        return self
