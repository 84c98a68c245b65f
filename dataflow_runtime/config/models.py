"""The configuration of a workflow as strict pydantic models: keys, types, defaults and rules.

A workflow may bring a subclass of `WorkflowConfig` through the entry-point group
``dataflow.config_models``.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
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
    DatabaseUrl,
    Day,
    Duration,
    Identifier,
    Lookback,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Ratio,
    Secret,
    Text,
    rule,
)
from dataflow_runtime.config.schedule import cron_problem
from dataflow_runtime.config.sources import SourceConfig
from dataflow_runtime.config.window import Window
from dataflow_runtime.errors import did_you_mean

# With `_rejected` at its end, a table's name still has at most 63 characters.
_LONGEST_TABLE = 54


def _postgres_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("postgres://", "postgresql://", "postgresql+")):
        raise ValueError("expected a URL that begins with postgresql://")
    return value


def _without_default(schema: dict[str, Any]) -> None:
    """Leave out a default that depends on the workflow's name or on other keys."""
    schema.pop("default", None)


class Cursor(ConfigModel):
    """Incremental extraction: only rows whose cursor is above the highest one in the warehouse.

    Attributes:
        column: Column that grows: a timestamp or a number.
        lookback: How far below the highest value to read again: a number or '3d', '12h'.
    """

    column: Text
    lookback: Lookback = 0.0


class ProcessingConfig(ConfigModel):
    """How rows are handled on their way.

    Attributes:
        batch_size: Rows handled at a time; bounds memory.
        primary_key: Columns that identify a row: a list, or one name.
        cursor: Incremental extraction; none: all rows each time.
        columns: Types of the source's columns, by name.
        max_rejected_ratio: Share of rejected rows above which a run fails before loading, 0 to 1.
    """

    batch_size: PositiveInt = 100_000
    primary_key: Columns = Field(default=[])
    cursor: Cursor | None = None
    columns: dict[str, ColumnType] = Field(default={})
    max_rejected_ratio: Ratio = 1.0

    @model_validator(mode="after")
    def _cursor_is_a_column(self) -> Self:
        if self.cursor and self.columns and self.cursor.column not in self.columns:
            column = self.cursor.column
            add = f"add `{column}: timestamp` (or its type) to `columns`"
            hint = did_you_mean(column, self.columns) or add
            message = f"{column!r} is not one of 'processing.columns'"
            raise rule(message, "cursor", "column", hint=hint, needs="processing.columns")
        return self


class DuckDBOutput(ConfigModel):
    """The embedded warehouse.

    Attributes:
        path: Database file; none: $DATAFLOW_HOME/<workflow>.duckdb.
    """

    path: Text | None = None


class PostgresOutput(ConfigModel):
    """A PostgreSQL warehouse.

    Attributes:
        url: postgresql://user:password@host:port/database; a secret as a whole.
    """

    url: Annotated[DatabaseUrl, AfterValidator(_postgres_url)]


class OutputConfig(ConfigModel):
    """Where rows go.

    Attributes:
        warehouse: Kind of warehouse.
        schema_: Schema of the loaded table; default <workflow>_raw.
        table: Table that rows are loaded into; default <workflow>. Rejected rows go to
            <table>_rejected.
        marts_schema: Schema of the dbt models; default <workflow>_marts.
        write_disposition: What happens to rows already there; default merge with a primary key,
            else append.
        keep_rejected_days: Days after which a load removes a rejected row; none: kept.
        schema_contract: New columns and changed types: evolve the table, or freeze it and fail.
        duckdb: Settings of warehouse duckdb.
        postgres: Settings of warehouse postgres.
    """

    warehouse: Literal["duckdb", "postgres"] = "duckdb"
    schema_: Identifier = Field(default="raw", alias="schema", json_schema_extra=_without_default)
    table: Annotated[Identifier, Field(max_length=_LONGEST_TABLE)] = Field(
        default="rows", json_schema_extra=_without_default
    )
    marts_schema: Identifier = Field(default="marts", json_schema_extra=_without_default)
    write_disposition: Literal["merge", "append", "replace"] = Field(
        default="append", json_schema_extra=_without_default
    )
    keep_rejected_days: PositiveInt | None = None
    schema_contract: Literal["evolve", "freeze"] = "evolve"
    duckdb: DuckDBOutput = DuckDBOutput()
    postgres: PostgresOutput | None = None

    @property
    def rejected_table(self) -> str:
        """The table of the rejected rows, in the same schema."""
        return f"{self.table}_rejected"

    @model_validator(mode="after")
    def _postgres_has_a_url(self) -> Self:
        if self.warehouse == "postgres" and self.postgres is None:
            hint = "add `postgres:` with `url: ${WAREHOUSE_URL}` under `output:`"
            message = "warehouse is 'postgres', but there is no section 'postgres'"
            raise rule(message, "warehouse", hint=hint, needs="output.postgres")
        return self


class ScheduleConfig(ConfigModel):
    """When it runs.

    Attributes:
        cron: Cron expression of five fields, or an alias such as @daily; none: the decorator's.
        timezone: IANA time zone of the cron expression.
        partitions: Time window of a partition (weeks begin on Monday); none: not partitioned.
        partitions_start: First day that has a partition (YYYY-MM-DD).
    """

    cron: Annotated[str, Field(max_length=200)] | None = None
    timezone: str = "UTC"
    partitions: Literal["hourly", "daily", "weekly", "monthly"] | None = None
    partitions_start: Day | None = None

    @field_validator("cron")
    @classmethod
    def _fires(cls, value: str | None) -> str | None:
        if value is not None and (problem := cron_problem(value)):
            raise ValueError(problem)
        return value

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            # A machine without a time zone database knows UTC all the same.
            if value != "UTC":
                ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            suggestion = did_you_mean(value, available_timezones())
            hint = suggestion or "use an IANA name such as Europe/Berlin"
            raise rule(f"expected a time zone, found {value!r}", hint=hint) from None
        return value

    @model_validator(mode="after")
    def _partitions_have_a_start(self) -> Self:
        if self.partitions and self.partitions_start is None:
            hint = "add `partitions_start: 2026-01-01`"
            raise rule(
                "partitions need a 'partitions_start'",
                "partitions",
                hint=hint,
                needs="schedule.partitions_start",
            )
        return self


class FreshnessConfig(ConfigModel):
    """How old the tables may become.

    Attributes:
        max_age: Age of the last run that loaded them at which they are late, such as '26h'; none:
            they are never late.
    """

    max_age: Duration | None = None


class AlertsConfig(ConfigModel):
    """Who is told about failed runs and late tables.

    Attributes:
        to: Addresses: https://… gets a JSON document; others are Apprise's (mailto://, slack://).
    """

    to: list[Secret] = Field(default=[])


class RetryConfig(ConfigModel):
    """What happens when a step fails.

    Attributes:
        max_retries: How often a failed step is tried again.
        delay: Wait before the first retry, in seconds.
        backoff: How the wait grows.
    """

    max_retries: NonNegativeInt = 0
    delay: NonNegativeFloat = 1.0
    backoff: Literal["none", "linear", "exponential"] = "none"


class ApiConfig(ConfigModel):
    """What clients of the REST API may do with this workflow.

    Attributes:
        overridable: Dotted keys, or patterns such as processing.*, that a run started over the API
            may override.
    """

    overridable: list[Text] = Field(default=["processing.*", "retries.*", "source.mock.*"])


class WorkflowConfig(ConfigModel):
    """The configuration of a workflow.

    Attributes:
        source: Where rows come from.
        processing: How rows are handled on their way.
        output: Where rows go.
        schedule: When it runs.
        retries: What happens when a step fails.
        freshness: How old the tables may become.
        alerts: Who is told about failed runs and late tables.
        api: What clients of the REST API may do with this workflow.
    """

    source: SourceConfig
    processing: ProcessingConfig = ProcessingConfig()
    output: OutputConfig = OutputConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    retries: RetryConfig = RetryConfig()
    freshness: FreshnessConfig = FreshnessConfig()
    alerts: AlertsConfig = AlertsConfig()
    api: ApiConfig = ApiConfig()

    _workflow: str = PrivateAttr("")
    _root: Path = PrivateAttr(Path())
    _window: Window | None = PrivateAttr(None)

    @property
    def workflow(self) -> str:
        """The name of the workflow."""
        return self._workflow

    @property
    def root(self) -> Path:
        """The folder of ``config.yaml``, which relative paths in it start from."""
        return self._root

    @property
    def window(self) -> Window | None:
        """The range that this run reads: a partition, a given range, or what is new.

        None is everything. Rows outside of it are dropped after ``extract(config)``, which may
        leave them out to begin with.
        """
        return self._window

    @property
    def max_age(self) -> timedelta | None:
        """``freshness.max_age``; None where the workflow's own model has another ``freshness``."""
        ours = isinstance(self.freshness, FreshnessConfig)
        return self.freshness.max_age if ours else None

    def within(self, window: Window | None) -> Self:
        """Return this config for a run that reads `window` of the source."""
        narrowed = self.model_copy()
        narrowed._window = window  # noqa: SLF001 - a copy of its own class
        return narrowed

    @model_validator(mode="after")
    def _complete(self, info: ValidationInfo) -> Self:
        """Fill in the defaults that depend on the workflow's name and on other sections."""
        context = info.context or {}
        self._workflow, self._root = context.get("workflow", ""), context.get("root", Path())
        defaults: dict[str, str] = {}
        if name := self._workflow.lower():
            defaults = {"schema_": f"{name}_raw", "table": name, "marts_schema": f"{name}_marts"}
        if self.processing.primary_key:
            defaults["write_disposition"] = "merge"
        for key in self.output.model_fields_set:
            defaults.pop(key, None)
        if len(defaults.get("table", "")) > _LONGEST_TABLE:
            message = f"the workflow's name has more than {_LONGEST_TABLE} characters"
            raise rule(message, "output", "table", hint="set 'output.table'")
        # The model is frozen for everybody else.
        self.__dict__["output"] = self.output.model_copy(update=defaults)
        return self

    @model_validator(mode="after")
    def _partitions_have_a_cursor(self) -> Self:
        if self.schedule.partitions and self.processing.cursor is None:
            hint = "add `cursor: {column: …}` under `processing:`: the time that a row belongs to"
            raise rule(
                "partitions need 'processing.cursor'",
                "schedule",
                "partitions",
                hint=hint,
                needs="processing.cursor",
            )
        return self

    @model_validator(mode="after")
    def _merge_has_a_key(self) -> Self:
        if self.output.write_disposition == "merge" and not self.processing.primary_key:
            hint = "set the primary key, or write_disposition: append"
            message = "'merge' needs 'processing.primary_key'"
            raise rule(
                message, "output", "write_disposition", hint=hint, needs="processing.primary_key"
            )
        return self
