"""The pipeline's steps as Dagster ops."""

# No `from __future__ import annotations` here: Dagster reads the types of its `context` parameters.

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import polars as pl

from dataflow_runtime.catalog import RUN_TAG
from dataflow_runtime.config import config_manager
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.checks import Transform
from dataflow_runtime.pipeline.dbt import DbtResult, build
from dataflow_runtime.pipeline.load import tables
from dataflow_runtime.pipeline.manifest import Manifest
from dataflow_runtime.pipeline.steps import Extract, Pipeline
from dataflow_runtime.pipeline.warehouse import location

__all__ = ["RESULT", "STEPS", "PipelineOps", "pipeline_ops"]

RESULT = "dataflow"
"""Metadata key under which each step records its part of the run's report."""

STEPS = ("extract", "transform", "load", "dbt")

_OVERRIDES = {
    "env": dg.Field(dg.Noneable(str), is_required=False, description="Name of the config overlay."),
    "set": dg.Field(dg.Permissive(), is_required=False, description="Config values of this run, dotted key to value."),
}


class PipelineOps(NamedTuple):
    """The four steps, to be put together in a job: ``dbt(load(transform(extract())))``."""

    extract: dg.OpDefinition
    transform: dg.OpDefinition
    load: dg.OpDefinition
    dbt: dg.OpDefinition


def pipeline_ops(
    workflow: str, *, extract: Extract, transform: Transform, checks: Mapping[str, pl.Expr]
) -> PipelineOps:
    """Return the ops of a workflow's pipeline.

    The config of the `extract` op (``env`` and ``set``) overrides the workflow's config for the whole run.

    Args:
        workflow: The registered name; it names the config and the ops.
        extract: ``extract(config)`` yields batches of rows.
        transform: ``transform(rows)`` returns the rows to load.
        checks: Check name to an expression over the transformed rows that is true for good ones.
    """
    pipeline = Pipeline(workflow, extract, transform, checks)

    @dg.op(name=f"{workflow}_dbt", description="Builds and tests the dbt models.")
    def dbt_op(context: dg.OpExecutionContext, manifest: Manifest) -> dg.Output[None]:
        with reported(pipeline), closing_run(pipeline):
            result = build(pipeline.config(manifest), run_id=context.run_id)
            raise_failures(result)
        return dg.Output(None, metadata=dbt_metadata(result))

    return PipelineOps(
        extract=extract_op(pipeline), transform=transform_op(pipeline), load=load_op(pipeline), dbt=dbt_op
    )


def extract_op(pipeline: Pipeline) -> dg.OpDefinition:
    """Return the op that stages the source's rows."""

    @dg.op(
        name=f"{pipeline.workflow}_extract",
        config_schema=_OVERRIDES,
        description="Stages the source's rows as they are.",
    )
    def extract(context: dg.OpExecutionContext) -> dg.Output[Manifest]:
        # A run that the UI or a schedule started is found by it, as one that `run` started.
        context.instance.add_run_tags(context.run_id, {RUN_TAG: pipeline.workflow})
        with reported(pipeline):
            manifest = pipeline.run_extract(context.run_id, **overrides(context.op_config))
            used = config_manager.effective(pipeline.workflow, **overrides(context.op_config))
        config = dg.MetadataValue.json(used.config)  # secrets are masked in it
        return dg.Output(manifest, metadata={**_metadata(manifest, "extracted"), "config": config})

    return extract


def transform_op(pipeline: Pipeline) -> dg.OpDefinition:
    """Return the op that parses, transforms and checks the staged rows."""

    @dg.op(name=f"{pipeline.workflow}_transform", description="Parses, transforms and checks the rows.")
    def transform(context: dg.OpExecutionContext, manifest: Manifest) -> dg.Output[Manifest]:
        with reported(pipeline):
            manifest = pipeline.run_transform(manifest)
        return dg.Output(manifest, metadata=_metadata(manifest, "rejected", "rejected_by"))

    return transform


def load_op(pipeline: Pipeline, outs: Mapping[str, dg.Out] | None = None) -> dg.OpDefinition:
    """Return the op that loads the staged rows.

    Args:
        pipeline: The workflow's pipeline.
        outs: Outputs that stand for the loaded tables, as an asset graph needs them; by default the manifest.
    """

    @dg.op(
        name=f"{pipeline.workflow}_load",
        description="Loads the rows, and the rejected ones into a table of their own.",
        out=dict(outs) if outs else {"result": dg.Out(Manifest)},
    )
    def load(context: dg.OpExecutionContext, manifest: Manifest) -> Iterator[dg.Output[Any]]:
        with reported(pipeline):
            dbt_follows = any(node.name == f"{pipeline.workflow}_dbt" for node in context.job_def.all_node_defs)
            manifest = pipeline.run_load(manifest, last=not dbt_follows)
            config = pipeline.config(manifest)
        warehouse = {"type": config.output.warehouse, "location": location(config)}
        metadata = _metadata(manifest, "loaded", tables=list(tables(config)), warehouse=warehouse)
        if outs is None:
            yield dg.Output(manifest, metadata=metadata)
            return
        rows = (manifest.loaded, manifest.rejected)
        for name, table, count in zip(outs, tables(config), rows, strict=True):
            yield dg.Output(
                None, output_name=name, metadata={**metadata, "dagster/table_name": table, "dagster/row_count": count}
            )

    return load


def overrides(op_config: Any) -> dict[str, Any]:
    """Return the overrides in the config of an extract op."""
    op_config = op_config or {}
    return {"env": op_config.get("env"), "overrides": dict(op_config.get("set") or {})}


def run_overrides(run_config: Any) -> dict[str, Any]:
    """Return the overrides of a run: those of its extract op, wherever that stands in the job."""
    for name, node in ((run_config or {}).get("ops") or {}).items():
        if name.endswith("_extract"):
            return overrides(node.get("config"))
        if "ops" in node and (found := run_overrides(node)) != overrides(None):
            return found
    return overrides(None)


@contextmanager
def closing_run(pipeline: Pipeline) -> Iterator[None]:
    """Mark the run as over when its last step succeeds or fails; not when it is interrupted or killed."""
    try:
        yield
    except Exception:
        pipeline.finish()
        raise
    pipeline.finish()


@contextmanager
def reported(pipeline: Pipeline) -> Iterator[None]:
    """Turn an error of a step into a Dagster failure that says what its user should read, secrets masked."""
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise  # says all that it has to say
    except DataflowError as error:
        raise _failure(error.message, error.hint) from None
    except Exception as error:
        # A bug in the workflow's own code: the message names the line, the traceback goes to the step's log.
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).is_relative_to(pipeline.folder)]
        frame = (own or frames)[-1]
        dg.get_dagster_logger().error(mask("".join(traceback.format_exception(error))))
        raise _failure(f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})", None) from None


def raise_failures(result: DbtResult) -> None:
    """Raise for the models and tests that failed, naming each.

    Raises:
        dagster.Failure: Something failed; its metadata holds the whole result.
    """
    if not result.failed:
        return
    lines = []
    for failure in result.failed:
        of = f" of model {failure.model}" if failure.model else ""
        found = f": {failure.failures} failing rows" if failure.failures is not None else f": {failure.message}"
        lines.append(f"{failure.name}{of}{found}")
    raise _failure("dbt build failed: " + "; ".join(lines), None, **dbt_metadata(result))


def dbt_metadata(result: DbtResult) -> dict[str, Any]:
    """Return the metadata that records a dbt build."""
    return {RESULT: dg.MetadataValue.json({"dbt": result.to_json()}), "models": result.models, "tests": result.tests}


def _metadata(manifest: Manifest, *keys: str, **more: Any) -> dict[str, Any]:
    found = {key: value for key, value in asdict(manifest).items() if key in keys}
    plotted = {f"rows_{key}": value for key, value in found.items() if isinstance(value, int)}
    return {RESULT: dg.MetadataValue.json({**found, **more}), **plotted}


def _failure(message: str, hint: str | None, **metadata: Any) -> dg.Failure:
    message = mask(message)
    details = {"message": message} | ({"hint": mask(hint)} if hint else {})
    return dg.Failure(description=message, metadata={**details, **metadata})
