"""Runs a workflow's dbt project in this process, with the connection that the config names.

The only module that calls dbt. What dbt did is read from its artifacts, ``manifest.json`` and
``run_results.json``, so that another way to start dbt is a change of `_invoke` alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.schema import Columns
from dataflow_runtime.pipeline.staging import scratch
from dataflow_runtime.pipeline.warehouse import duckdb_path, exclusive, postgres_parts
from dataflow_runtime.settings import get_settings, temporary_environment

__all__ = [
    "DbtResult",
    "Failure",
    "artifacts_dir",
    "build",
    "build_on_no_rows",
    "environment",
    "is_parsed",
    "manifest_path",
    "project_dir",
]

_RESULTS, _MANIFEST = "run_results.json", "manifest.json"
_KEPT_RUNS = 20
_BUILT = ("model", "seed", "snapshot")
_TESTS = ("test", "unit_test")


@dataclass(frozen=True)
class Failure:
    """A dbt node that failed.

    Attributes:
        name: The test or model.
        model: The model that a test is about, None where the node is a model.
        failures: Number of rows that a test found, None where it did not get that far.
        message: dbt's message.
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
        tables: Name in SQL of each table that was built, views left out, by unique id.
    """

    models: int = 0
    tests: int = 0
    failed: list[Failure] = field(default_factory=list)
    status: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)


def project_dir(config: WorkflowConfig) -> Path:
    """Return the workflow's dbt project folder."""
    return config.root / "dbt"


def build(config: WorkflowConfig, *, run_id: str, select: Sequence[str] = ()) -> DbtResult:
    """Run ``dbt build``; a failing model or test is in the result, not an exception.

    dbt's artifacts of the newest runs are kept in `artifacts_dir`.

    Args:
        config: Names the project's folder and the connection.
        run_id: The run that builds.
        select: dbt selectors; empty for all.

    Raises:
        DataflowError: The project cannot be parsed, or the warehouse cannot be reached.
    """
    arguments = ["build", *(("--select", *select) if select else ())]
    with exclusive(config), _target(config) as target:
        (target / _RESULTS).unlink(missing_ok=True)  # of an earlier run
        try:
            _invoke(config, arguments)
            return _result(target)
        finally:
            _keep_artifacts(target, artifacts_dir(config, run_id))


def build_on_no_rows(config: WorkflowConfig, columns: Columns) -> None:
    """Build the models on raw tables without rows in a DuckDB file of their own.

    It takes seconds, touches no warehouse, and finds SQL that is wrong or names an absent column.

    Args:
        config: The workflow's config; nothing is built where its warehouse is not DuckDB.
        columns: The columns of the raw table.

    Raises:
        DataflowError: A model cannot be built; the message names each.
    """
    if config.output.warehouse != "duckdb":
        return  # its SQL may be another dialect
    from dataflow_runtime.pipeline.load.duckdb import create_tables

    with scratch() as folder:
        database, target = folder / "raw.duckdb", folder / "target"
        create_tables(config, database, columns)
        variables = {"DATAFLOW_DUCKDB_PATH": str(database), "DBT_TARGET_PATH": str(target)}
        _invoke(config, ["run", "--empty"], variables)
        failed = _result(target).failed
    if failed:
        reasons = "; ".join(f"{failure.name}: {failure.message}" for failure in failed)
        raise DataflowError(reasons, hint="correct the models, or what transform() returns")


def artifacts_dir(config: WorkflowConfig, run_id: str) -> Path:
    """Return where the ``run_results.json`` and ``manifest.json`` of a run are kept."""
    return _state(config) / "runs" / run_id


def manifest_path(config: WorkflowConfig) -> Path:
    """Return the project's parsed manifest, kept by content: a changed project is parsed again.

    It lacks the macros. They are most of a manifest, and Dagster does not read them.

    Raises:
        DataflowError: The project cannot be parsed.
    """
    kept = _kept_manifest(config)
    if not _is_json(kept):
        with _target(config) as target:
            _invoke(config, ["parse"])
            kept.parent.mkdir(parents=True, exist_ok=True)
            draft = kept.with_suffix(".draft")
            manifest = json.loads((target / _MANIFEST).read_bytes())
            draft.write_text(json.dumps({**manifest, "macros": {}}), "utf-8")
            draft.replace(kept)
    return kept


def is_parsed(config: WorkflowConfig) -> bool:
    """Return whether `manifest_path` has the manifest of the project as it is now."""
    return _is_json(_kept_manifest(config))


def environment(config: WorkflowConfig) -> dict[str, str]:
    """Return the variables that point dbt at the project and its state, and those it reads."""
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


@contextmanager
def _target(config: WorkflowConfig) -> Iterator[Path]:
    """Give dbt's target folder, which one process at a time may use."""
    import filelock

    state = _state(config)
    (state / "target").mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(state / "lock"):
        yield state / "target"


def _kept_manifest(config: WorkflowConfig) -> Path:
    return _state(config) / "manifests" / f"{_digest(config)}.json"


def _digest(config: WorkflowConfig) -> str:
    """Return a digest of all that dbt parses."""
    digest = hashlib.sha256()
    for variable, value in sorted(environment(config).items()):
        if "SECRET" not in variable:
            digest.update(f"{variable}={value}\0".encode())
    project = project_dir(config)
    for file in sorted(file for file in project.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(project)}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def _keep_artifacts(target: Path, kept: Path) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    for name in (_RESULTS, _MANIFEST):
        if (target / name).exists():
            shutil.copyfile(target / name, kept / name)
    runs = sorted(kept.parent.iterdir(), key=lambda folder: folder.stat().st_mtime)
    for folder in runs[:-_KEPT_RUNS]:
        shutil.rmtree(folder, ignore_errors=True)


def _invoke(
    config: WorkflowConfig, arguments: Sequence[str], variables: Mapping[str, str] | None = None
) -> None:
    from dbt.cli.main import dbtRunner

    variables = {**environment(config), **(variables or {})}
    project = project_dir(config)
    parsed = Path(variables["DBT_TARGET_PATH"], "partial_parse.msgpack")
    if not (project / "dbt_project.yml").is_file():
        raise DataflowError(
            f"{project}: no dbt_project.yml",
            hint="add dbt_project.yml and profiles.yml, as docs/how-to/existing-job.md shows them",
        )
    with temporary_environment(variables):
        try:
            outcome = dbtRunner().invoke(["--quiet", "--log-level", "none", *arguments])
            if outcome.exception is not None and outcome.result is None and parsed.exists():
                # What dbt has kept of an earlier parse may not fit the project any more.
                parsed.unlink()
                outcome = dbtRunner().invoke(["--quiet", "--log-level", "none", *arguments])
        finally:
            _disconnect()
    if outcome.exception is not None:
        reason = mask(" ".join(str(outcome.exception).split()))
        log = _state(config) / "logs" / "dbt.log"
        raise DataflowError(f"dbt {arguments[0]}: {reason}", hint=f"log: {log}")


def _disconnect() -> None:
    """Close dbt's connections: DuckDB's would lock its file for as long as this process lives."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.factory import reset_adapters

    reset_adapters()
    DuckDBConnectionManager.close_all_connections()


def _result(target: Path) -> DbtResult:
    """Read what a build did from its artifacts."""
    if not (target / _RESULTS).exists():
        return DbtResult()  # the project has nothing to build
    manifest = json.loads((target / _MANIFEST).read_bytes())
    nodes = {**manifest["nodes"], **manifest["unit_tests"]}
    results = json.loads((target / _RESULTS).read_bytes())["results"]
    kind = {result["unique_id"]: nodes[result["unique_id"]]["resource_type"] for result in results}
    built = [result for result in results if kind[result["unique_id"]] in _BUILT]
    tests = [result for result in results if kind[result["unique_id"]] in _TESTS]
    return DbtResult(
        models=sum(result["status"] == "success" for result in built),
        tests=sum(result["status"] in ("pass", "warn") for result in tests),
        failed=[
            _failure(result, nodes[result["unique_id"]])
            for result in results
            if result["status"] in ("error", "fail", "runtime error")
        ],
        status={result["unique_id"]: result["status"] for result in results},
        seconds={result["unique_id"]: result["execution_time"] for result in results},
        tables={
            result["unique_id"]: result["relation_name"]
            for result in built
            if result["status"] == "success" and not _is_view(nodes[result["unique_id"]])
        },
    )


def _is_view(node: Mapping[str, Any]) -> bool:
    return node["config"]["materialized"] in ("view", "ephemeral")


def _failure(result: Mapping[str, Any], node: Mapping[str, Any]) -> Failure:
    model = None
    if node["resource_type"] in _TESTS:
        upstream = node["depends_on"]["nodes"]
        tested = node.get("attached_node") or (upstream[0] if upstream else None)
        model = tested.rpartition(".")[2] if tested else None
    return Failure(
        name=node["name"],
        model=model,
        failures=result["failures"] if result["status"] == "fail" else None,
        message=" ".join((result["message"] or "").split()),
    )
