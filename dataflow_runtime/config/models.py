"""The configuration of a workflow as strict pydantic models: every key, its type, unit, default and rules.

A workflow may bring a subclass of `WorkflowConfig` through the entry-point group ``dataflow.config_models``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dataflow_runtime.config.base import (
    Columns,
    ColumnType,
    ConfigModel,
    Day,
    Identifier,
    Lookback,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Ratio,
    Text,
    rule,
)
from dataflow_runtime.config.schedule import cron_problem
from dataflow_runtime.config.sources import (
    ApiSource,
    Auth,
    DatabaseSource,
    FileOptions,
    FileSource,
    MockSource,
    Pagination,
    SourceConfig,
)
from dataflow_runtime.config.window import Window
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


def _postgres_url(value: SecretStr) -> SecretStr:
    if not re.match(r"postgres(ql)?(\+\w+)?://", value.get_secret_value()):
        raise ValueError("expected a URL that begins with postgresql://")
    return value


class Cursor(ConfigModel):
    """Incremental extraction: only rows whose cursor lies above the warehouse's highest."""

    column: Text = Field(description="Column that grows: a timestamp or a number.")
    lookback: Lookback = Field(
        default=0.0,
        description="How far below the highest value to read again: a duration ('3d', '12h') or a number.",
    )


class ProcessingConfig(ConfigModel):
    """How rows are handled on their way."""

    batch_size: PositiveInt = Field(
        default=100_000, description="Rows handled at a time; bounds memory."
    )
    primary_key: Columns = Field(
        default=[], description="Columns that identify a row; a single name may stand for a list."
    )
    cursor: Cursor | None = Field(
        default=None, description="Incremental extraction; none: all rows each time."
    )
    columns: dict[str, ColumnType] = Field(
        default={}, description="Types of the source's columns, by name."
    )
    max_rejected_ratio: Ratio = Field(
        default=1.0,
        description="Part of rejected rows above which a run fails before loading, 0 to 1.",
    )

    @model_validator(mode="after")
    def _cursor_is_a_column(self) -> Self:
        if self.cursor and self.columns and self.cursor.column not in self.columns:
            column = self.cursor.column
            hint = (
                did_you_mean(column, self.columns)
                or f"add `{column}: timestamp` (or its type) to `columns`"
            )
            raise rule(
                f"{column!r} is not one of 'processing.columns'", "cursor", "column", hint=hint
            )
        return self


class DuckDBOutput(ConfigModel):
    """The embedded warehouse."""

    path: Text | None = Field(
        default=None, description="Database file; none: $DATAFLOW_HOME/<workflow>.duckdb."
    )


class PostgresOutput(ConfigModel):
    """A PostgreSQL warehouse."""

    url: SecretStr = Field(
        description="postgresql://user:password@host:port/database; a secret as a whole."
    )

    _check_url = field_validator("url")(_postgres_url)


def _computed(schema: dict[str, Any]) -> None:
    """Leave a default out of the JSON Schema that depends on the workflow's name or on other keys."""
    schema.pop("default", None)


class OutputConfig(ConfigModel):
    """Where rows go."""

    warehouse: Literal["duckdb", "postgres"] = Field(
        default="duckdb", description="Kind of warehouse."
    )
    schema_: Identifier = Field(
        default="raw",
        json_schema_extra=_computed,
        alias="schema",
        description="Schema of the loaded table; default <workflow>_raw.",
    )
    table: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=54)] = Field(
        default="rows",
        json_schema_extra=_computed,
        description="Table that rows are loaded into; default <workflow>. Rejected rows go to <table>_rejected.",
    )
    marts_schema: Identifier = Field(
        default="marts",
        json_schema_extra=_computed,
        description="Schema of the dbt models; default <workflow>_marts.",
    )
    write_disposition: Literal["merge", "append", "replace"] = Field(
        default="append",
        json_schema_extra=_computed,
        description="What happens to rows already there; default merge with a primary key, else append.",
    )
    schema_contract: Literal["evolve", "freeze"] = Field(
        default="evolve",
        description="New columns and changed types: evolve the table, or freeze it and fail.",
    )
    duckdb: DuckDBOutput = Field(
        default=DuckDBOutput(), description="Settings of warehouse duckdb."
    )
    postgres: PostgresOutput | None = Field(
        default=None, description="Settings of warehouse postgres."
    )

    @model_validator(mode="after")
    def _postgres_has_a_url(self) -> Self:
        if self.warehouse == "postgres" and self.postgres is None:
            hint = "add `postgres:` with `url: ${WAREHOUSE_URL}` under `output:`"
            raise rule(
                "warehouse is 'postgres', but there is no section 'postgres'",
                "warehouse",
                hint=hint,
            )
        return self


class ScheduleConfig(ConfigModel):
    """When it runs."""

    cron: str | None = Field(
        default=None,
        description="Cron expression of five fields, or an alias such as @daily; none: the decorator's.",
    )
    timezone: str = Field(default="UTC", description="IANA time zone of the cron expression.")
    partitions: Literal["hourly", "daily", "weekly", "monthly"] | None = Field(
        default=None,
        description="Time window of a partition (weeks begin on Monday); none: not partitioned.",
    )
    partitions_start: Day | None = Field(
        default=None, description="First day that has a partition (YYYY-MM-DD)."
    )

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
            hint = (
                did_you_mean(value, available_timezones())
                or "use an IANA name such as Europe/Berlin"
            )
            raise rule(f"expected a time zone, found {value!r}", hint=hint) from None
        return value

    @model_validator(mode="after")
    def _partitions_begin(self) -> Self:
        if self.partitions and self.partitions_start is None:
            raise rule(
                "partitions need a 'partitions_start'",
                "partitions",
                hint="add `partitions_start: 2026-01-01`",
            )
        return self


class RetryConfig(ConfigModel):
    """What happens when a step fails."""

    max_retries: NonNegativeInt = Field(
        default=0, description="Times that a failed step is tried again."
    )
    delay: NonNegativeFloat = Field(
        default=1.0, description="Wait before the first retry, in seconds."
    )
    backoff: Literal["none", "linear", "exponential"] = Field(
        default="none", description="How the wait grows."
    )


class ApiConfig(ConfigModel):
    """What clients of the REST API may do with this workflow."""

    overridable: list[Text] = Field(
        default=["processing.*", "retries.*", "source.mock.*"],
        description="Dotted keys, or patterns such as `processing.*`, that a run started over the"
        " API may override.",
    )


class WorkflowConfig(ConfigModel):
    """The configuration of a workflow."""

    source: SourceConfig = Field(description="Where rows come from.")
    processing: ProcessingConfig = Field(
        default=ProcessingConfig(), description="How rows are handled on their way."
    )
    output: OutputConfig = Field(default=OutputConfig(), description="Where rows go.")
    schedule: ScheduleConfig = Field(default=ScheduleConfig(), description="When it runs.")
    retries: RetryConfig = Field(
        default=RetryConfig(), description="What happens when a step fails."
    )
    api: ApiConfig = Field(
        default=ApiConfig(), description="What clients of the REST API may do with this workflow."
    )

    _workflow: str = PrivateAttr("")
    _root: Path = PrivateAttr(Path())
    _window: Window | None = PrivateAttr(None)

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self._workflow

    @property
    def root(self) -> Path:
        """The folder of ``config.yaml``, which relative paths in it start from."""
        return self._root

    @property
    def window(self) -> Window | None:
        """What this run reads of the source: a partition, a range to fill in again, or what is new; None: everything.

        The rows outside are dropped after ``extract(config)``, which may leave them out to begin with.
        """
        return self._window

    def within(self, window: Window | None) -> Self:
        """Return this config for a run that reads `window` of the source."""
        narrowed = self.model_copy()
        narrowed._window = window
        return narrowed

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
    def _partitions_have_a_cursor(self) -> Self:
        if self.schedule.partitions and self.processing.cursor is None:
            hint = "add `cursor: {column: …}` under `processing:`: the time that says which partition a row is of"
            raise rule("partitions need 'processing.cursor'", "schedule", "partitions", hint=hint)
        return self

    @model_validator(mode="after")
    def _merge_has_a_key(self, info: ValidationInfo) -> Self:
        if self.output.write_disposition == "merge" and not self.processing.primary_key:
            hint = "set the primary key, or write_disposition: append"
            raise rule(
                "'merge' needs 'processing.primary_key'", "output", "write_disposition", hint=hint
            )
        context = info.context or {}
        self._workflow, self._root = context.get("workflow", ""), context.get("root", Path())
        return self
