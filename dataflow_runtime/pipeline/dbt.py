"""Runs a workflow's dbt project in this process, with the connection that the config names."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.warehouse import duckdb_path, exclusive, postgres_parts
from dataflow_runtime.settings import get_settings, temporary_environment

__all__ = [
    "DbtResult",
    "Failure",
    "artifacts_dir",
    "build",
    "environment",
    "manifest_path",
    "project_dir",
]


_ARTIFACTS = ("run_results.json", "manifest.json")
_KEPT_RUNS = 20


@dataclass(frozen=True)
class Failure:
    """A dbt node that failed.

    Attributes:
        name: The test or model.
        model: The model that a test is about, None where the node is a model.
        failures: Number of rows that a test found, None where the node did not get that far.
        message: What dbt said.
    """

    name: str
    model: str | None
    failures: int | None
    message: str


@dataclass(frozen=True)
class DbtResult:
    """What a build did.

    Attributes:
        models: Number of models, seeds and snapshots built.
        tests: Number of tests passed, unit tests included.
        failed: What failed.
        status: dbt's status of each node, by unique id.
        seconds: Execution time of each node, by unique id.
    """

    models: int
    tests: int
    failed: list[Failure] = field(default_factory=list)
    status: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the counts and failures, as ``run --json`` shows them."""
        return {
            "models": self.models,
            "tests": self.tests,
            "failed": [asdict(failure) for failure in self.failed],
        }


def project_dir(config: WorkflowConfig) -> Path:
    """Return the workflow's dbt project folder."""
    return config.root / "dbt"


def build(config: WorkflowConfig, *, run_id: str, select: Sequence[str] = ()) -> DbtResult:
    """Run ``dbt build`` and return what it did; a failing model or test is in the result, not an exception.

    dbt's artifacts are kept in `artifacts_dir`, those of the newest runs.

    Args:
        config: Names the project's folder and the connection.
        run_id: The run that builds.
        select: dbt selectors; empty for all.

    Raises:
        DataflowError: The project cannot be parsed, or the warehouse cannot be reached.
    """
    arguments = ["build", *(("--select", *select) if select else ())]
    with exclusive(config), _kept_artifacts(config, run_id):
        results = _invoke(config, arguments)
    nodes = list(results.results)
    outcome = {node.node.unique_id: str(node.status) for node in nodes}
    failed = [
        _failure(node) for node in nodes if str(node.status) in ("error", "fail", "runtime error")
    ]
    return DbtResult(
        models=sum(
            node.node.resource_type in ("model", "seed", "snapshot") and node.status == "success"
            for node in nodes
        ),
        tests=sum(
            node.node.resource_type in ("test", "unit_test") and node.status in ("pass", "warn")
            for node in nodes
        ),
        failed=failed,
        status=outcome,
        seconds={node.node.unique_id: float(node.execution_time) for node in nodes},
    )


def artifacts_dir(config: WorkflowConfig, run_id: str) -> Path:
    """Return where the ``run_results.json`` and ``manifest.json`` of a run are kept."""
    return _state(config) / "runs" / run_id


@contextmanager
def _kept_artifacts(config: WorkflowConfig, run_id: str) -> Iterator[None]:
    """Keep what dbt writes meanwhile, however it ends, and remove the artifacts of older runs."""
    target, kept = _state(config) / "target", artifacts_dir(config, run_id)
    (target / _ARTIFACTS[0]).unlink(
        missing_ok=True
    )  # the results of an earlier run are not this one's
    try:
        yield
    finally:
        kept.mkdir(parents=True, exist_ok=True)
        for name in _ARTIFACTS:
            if (target / name).exists():
                shutil.copyfile(target / name, kept / name)
        runs = sorted(kept.parent.iterdir(), key=lambda folder: folder.stat().st_mtime)
        for folder in runs[:-_KEPT_RUNS]:
            shutil.rmtree(folder, ignore_errors=True)


def manifest_path(config: WorkflowConfig) -> Path:
    """Return the project's parsed manifest. It is kept by content: only a changed project is parsed again.

    Raises:
        DataflowError: The project cannot be parsed.
    """
    digest = hashlib.sha256()
    for variable, value in sorted(environment(config).items()):
        if "SECRET" not in variable:
            digest.update(f"{variable}={value}\0".encode())
    project = project_dir(config)
    for file in sorted(file for file in project.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(project)}\0".encode())
        digest.update(file.read_bytes())
    kept = _state(config) / "manifests" / f"{digest.hexdigest()[:16]}.json"
    if not kept.exists():
        _invoke(config, ["parse"])
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(f".{os.getpid()}")
        shutil.copyfile(_state(config) / "target" / "manifest.json", draft)
        draft.replace(kept)
    return kept


def environment(config: WorkflowConfig) -> dict[str, str]:
    """Return the variables that point dbt at the workflow's project and state, and those that the project reads."""
    output, project, state = config.output, str(project_dir(config)), _state(config)
    variables = {
        "DBT_PROJECT_DIR": project,
        "DBT_PROFILES_DIR": project,
        "DBT_TARGET": output.warehouse,
        "DBT_TARGET_PATH": str(state / "target"),
        "DBT_LOG_PATH": str(state / "logs"),
        "DATAFLOW_DBT_TARGET": output.warehouse,
        "DATAFLOW_RAW_SCHEMA": output.schema_,
        "DATAFLOW_RAW_TABLE": output.table,
        "DATAFLOW_MARTS_SCHEMA": output.marts_schema,
        "DATAFLOW_DUCKDB_PATH": str(duckdb_path(config)),
    }
    if output.warehouse == "postgres":
        parts = postgres_parts(config)
        variables |= {
            "DATAFLOW_PG_HOST": parts.host,
            "DATAFLOW_PG_PORT": str(parts.port),
            "DATAFLOW_PG_USER": parts.user,
            # dbt masks the values of variables with this prefix in its logs.
            "DBT_ENV_SECRET_DATAFLOW_PG_PASSWORD": parts.password,
            "DATAFLOW_PG_DATABASE": parts.database,
        }
    return variables


def _state(config: WorkflowConfig) -> Path:
    return get_settings().home / "dbt" / config.workflow


def _invoke(config: WorkflowConfig, arguments: Sequence[str]) -> Any:
    from dbt.cli.main import dbtRunner

    project = project_dir(config)
    if not (project / "dbt_project.yml").is_file():
        raise DataflowError(
            f"{project}: no dbt_project.yml", hint="the workflow's folder has no dbt project"
        )
    with temporary_environment(environment(config)):
        try:
            outcome = dbtRunner().invoke(["--quiet", "--log-level", "none", *arguments])
        finally:
            _disconnect()
    if outcome.exception is not None:
        reason = " ".join(str(outcome.exception).split())
        raise DataflowError(
            f"dbt {arguments[0]}: {reason}", hint=f"log: {_state(config) / 'logs' / 'dbt.log'}"
        )
    return outcome.result


def _disconnect() -> None:
    """Close the connections that dbt keeps open: DuckDB's would lock its file for as long as this process lives."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.factory import reset_adapters

    reset_adapters()
    DuckDBConnectionManager.close_all_connections()


def _failure(result: Any) -> Failure:
    node = result.node
    is_test = node.resource_type in ("test", "unit_test")
    attached = getattr(node, "attached_node", None) or getattr(node, "tested_node_unique_id", None)
    if is_test and not attached:
        attached = next(iter(getattr(node.depends_on, "nodes", [])), None)
    return Failure(
        name=node.name,
        model=attached.rsplit(".", 1)[-1] if is_test and attached else None,
        failures=result.failures
        if isinstance(result.failures, int) and result.status == "fail"
        else None,
        message=" ".join(str(result.message or "").split()),
    )
