"""What the API takes and answers, where the command line has no type of its own for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from dataflow_runtime.config import Origin

__all__ = ["Config", "EnvName", "ErrorDocument", "ErrorItem", "Run", "RunRequest", "Validation"]

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]


@dataclass(frozen=True)
class Config:
    """What a workflow runs with, secrets masked; `origins` by dotted key, where asked for."""

    name: str
    env: str | None
    config: dict[str, Any]
    origins: dict[str, Origin] | None


@dataclass(frozen=True)
class ErrorItem:
    """One mistake: where it is and what to do; `file` is relative to the workflow's folder."""

    path: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None


@dataclass(frozen=True)
class ErrorDocument:
    """An error, after RFC 9457. Script against `type`, ``urn:dataflow:problem:<kind>``."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None
    errors: list[ErrorItem]


@dataclass(frozen=True)
class Validation:
    """The outcome of a validation, as ``dataflow-runtime config validate`` prints it."""

    name: str
    valid: bool
    errors: list[ErrorItem]
    warnings: list[ErrorItem]


class RunRequest(BaseModel):
    """How to run a workflow. Everything may be left out."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"config": {"processing.batch_size": 500}, "env": None}]},
    )

    config: dict[str, JsonValue] = Field({}, description="Overrides: dotted key to value.")
    env: EnvName | None = Field(None, description="Overlay: config.<env>.yaml.")
    partition: str | None = Field(None, description="Partition, of a partitioned workflow.")


@dataclass(frozen=True)
class Run:
    """What a run did, or has done so far: the shape of ``dataflow-runtime run --json``."""

    workflow: str
    run_id: str
    status: Literal["queued", "running", "success", "failure", "canceling", "canceled"]
    rows: dict[str, int]
    rejected_by: dict[str, int]
    dbt: dict[str, Any]
    steps: list[dict[str, Any]]
    warehouse: dict[str, str] | None
    tables: list[str]
    error: dict[str, str | None] | None
