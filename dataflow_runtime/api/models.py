"""What the API takes and answers: the shapes of the commands' ``--json``, typed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

__all__ = [
    "CheckedConfig",
    "Config",
    "ConfigFile",
    "Health",
    "Problem",
    "ProblemItem",
    "Run",
    "RunRequest",
    "Workflow",
    "WorkflowDetails",
]

_RUN_ID = "8c86778e-481c-5fa5-86a8-22948e788a16"
_WORKFLOW = {
    "name": "orders",
    "package": "orders",
    "version": "1.4.0",
    "description": "Orders of a shop",
    "owner": "shop-team",
    "schedule": "0 * * * *",
    "tags": ["sales"],
    "status": "ok",
    "error": None,
}
_ITEM = {
    "path": "processing.primary_kee",
    "message": "unknown key",
    "file": "config.yaml",
    "line": 6,
    "column": 3,
    "hint": "did you mean 'primary_key'?",
}


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [values]})


class Health(BaseModel):
    """The server answers."""

    model_config = _example(status="ok", version="0.1.0")

    status: Literal["ok"]
    version: str


class Workflow(BaseModel):
    """An installed workflow, as ``dataflow-runtime list`` prints it."""

    model_config = _example(**_WORKFLOW)

    name: str
    package: str
    version: str
    description: str | None
    owner: str | None
    schedule: str | None = Field(description="The cron expression that will run.")
    tags: list[str]
    status: Literal["ok", "broken", "unknown"] = Field(
        description="`broken`, where that shows without importing it; `unknown`, where its metadata is not literal."
    )
    error: str | None = Field(description="Why it is broken.")


class LastRun(BaseModel):
    """The newest run of a workflow, in Dagster's words."""

    run_id: str
    status: str
    started: str
    seconds: float | None


class WorkflowDetails(Workflow):
    """All that is known of one workflow, as ``dataflow-runtime show`` prints it."""

    model_config = _example(
        **_WORKFLOW,
        extra={"runbook": "https://wiki.example.org/orders"},
        entry_point="orders = orders.dagster_job",
        paths={"module": "dagster_job.py", "config.yaml": "config.yaml", "dbt": "dbt"},
        config={"source": "file", "warehouse": "duckdb", "table": "orders_raw.orders"},
        dbt_models=["fct_orders_daily", "stg_orders"],
        last_run=None,
    )

    extra: dict[str, Any]
    entry_point: str
    paths: dict[str, str | None] = Field(
        description="Its parts, relative to the workflow's folder."
    )
    config: dict[str, Any] | None = Field(
        description="A summary; `error` is in it where the config is not valid."
    )
    dbt_models: list[str]
    last_run: LastRun | None


class ConfigFile(BaseModel):
    """Where a workflow's configuration stands, as ``dataflow-runtime config list`` prints it."""

    model_config = _example(
        name="orders",
        package="orders",
        file="config.yaml",
        environments=["production"],
        exists=True,
    )

    name: str
    package: str
    file: str | None = Field(description="Relative to the workflow's folder.")
    environments: list[str]
    exists: bool


class Origin(BaseModel):
    """Where a value comes from."""

    layer: Literal["default", "file", "overlay", "environment", "set"]
    file: str | None
    line: int | None
    variable: str | None


class Config(BaseModel):
    """What a workflow runs with, secrets masked, as ``dataflow-runtime config show`` prints it."""

    model_config = _example(
        name="orders",
        env=None,
        config={
            "source": {"type": "file", "file": {"path": "orders.csv"}},
            "processing": {"batch_size": 1000},
        },
        origins={
            "processing.batch_size": {
                "layer": "file",
                "file": "config.yaml",
                "line": 8,
                "variable": None,
            }
        },
    )

    name: str
    env: str | None
    config: dict[str, Any]
    origins: dict[str, Origin] | None = Field(
        description="By dotted key; only where they were asked for."
    )


class ProblemItem(BaseModel):
    """One mistake, where it stands, and what to do."""

    model_config = _example(**_ITEM)

    path: str = Field(description="Dotted key; empty where the whole document is meant.")
    message: str
    file: str | None = Field(
        description="Relative to the workflow's folder; null for a request's own values."
    )
    line: int | None
    column: int | None
    hint: str | None


class CheckedConfig(BaseModel):
    """The outcome of a validation, as ``dataflow-runtime config validate`` prints it."""

    model_config = _example(name="orders", valid=False, errors=[_ITEM], warnings=[])

    name: str
    valid: bool
    errors: list[ProblemItem]
    warnings: list[ProblemItem]


class RunRequest(BaseModel):
    """How to run a workflow; all of it may be left out."""

    model_config = _example(config={"source.type": "mock"}, env=None, partition=None)

    config: dict[str, JsonValue] = Field(
        {}, description="Overrides of this run: dotted key to value."
    )
    env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")] | None = Field(
        None, description="Overlay: config.<env>.yaml."
    )
    partition: str | None = Field(None, description="Partition to run, for a partitioned workflow.")


class Step(BaseModel):
    """One step of a run."""

    name: str
    status: Literal["queued", "running", "success", "failure", "skipped"]
    seconds: float | None


class Rows(BaseModel):
    """Numbers of rows."""

    extracted: int
    rejected: int
    loaded: int


class Dbt(BaseModel):
    """What dbt built."""

    models: int
    tests: int
    failed: list[dict[str, Any]]


class Warehouse(BaseModel):
    """Where the rows are."""

    type: str
    location: str


class RunError(BaseModel):
    """Why a run failed."""

    step: str | None
    message: str
    hint: str | None


class Run(BaseModel):
    """What a run did, or has done so far: the shape of ``dataflow-runtime run --json``."""

    model_config = _example(
        workflow="orders",
        run_id=_RUN_ID,
        status="success",
        rows={"extracted": 40, "rejected": 4, "loaded": 36},
        rejected_by={"amount_positive": 4},
        dbt={"models": 2, "tests": 4, "failed": []},
        steps=[{"name": "extract", "status": "success", "seconds": 0.27}],
        warehouse={"type": "duckdb", "location": "$DATAFLOW_HOME/orders.duckdb"},
        tables=["orders_raw.orders", "orders_raw.orders_rejected"],
        error=None,
    )

    workflow: str
    run_id: str
    status: Literal["queued", "running", "success", "failure", "canceling", "canceled"]
    rows: Rows
    rejected_by: dict[str, int]
    dbt: Dbt
    steps: list[Step]
    warehouse: Warehouse | None
    tables: list[str]
    error: RunError | None


class Problem(BaseModel):
    """An error, after RFC 9457."""

    model_config = _example(
        type="urn:dataflow:problem:unknown-workflow",
        title="Unknown workflow",
        status=404,
        detail="unknown workflow 'ordres'",
        hint="did you mean 'orders'?",
        errors=[],
    )

    type: str = Field(
        description="What kind of error it is: `urn:dataflow:problem:<kind>`. Stable."
    )
    title: str
    status: int
    detail: str
    hint: str | None
    errors: list[ProblemItem] = Field(
        description="Each mistake of a configuration or of a request."
    )
