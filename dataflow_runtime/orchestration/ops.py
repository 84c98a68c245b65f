"""The pipeline's steps as Dagster ops."""

# No `from __future__ import annotations` here: Dagster reads the types of its `context` parameters.

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import polars as pl

from dataflow_runtime.config import Window, WorkflowConfig, config_manager
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError, TransientError, UsageError
from dataflow_runtime.orchestration._dagster import dagster_name
from dataflow_runtime.orchestration.listing import RUN_TAG
from dataflow_runtime.orchestration.run_config import parse_window, step_overrides
from dataflow_runtime.pipeline.casting import dtype_of
from dataflow_runtime.pipeline.checks import Transform, check_rows
from dataflow_runtime.pipeline.dbt import DbtResult, build
from dataflow_runtime.pipeline.load import tables
from dataflow_runtime.pipeline.schema import loadable
from dataflow_runtime.pipeline.staging import StagedRun
from dataflow_runtime.pipeline.steps import Extract, Pipeline
from dataflow_runtime.pipeline.warehouse import location

__all__ = ["PipelineOps", "pipeline_ops", "run_on_no_rows", "table_assets"]

_OVERRIDES = {
    "env": dg.Field(dg.Noneable(str), is_required=False, description="Name of the config overlay."),
    "set": dg.Field(
        dg.Permissive(),
        is_required=False,
        description="Config values of this run, dotted key to value.",
    ),
    "from": dg.Field(
        dg.Noneable(str), is_required=False, description="Only rows from this time on, ISO 8601."
    ),
    "to": dg.Field(
        dg.Noneable(str), is_required=False, description="Only rows before this time, ISO 8601."
    ),
    "rejected": dg.Field(
        dg.Noneable(str),
        is_required=False,
        description="Rejected rows instead of the source: those of a check, * for all.",
    ),
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

    ``env`` and ``set`` in the config of the `extract` op override the workflow's config for the
    whole run; ``from`` and ``to`` limit it to a window of time. ``retries`` in the workflow's
    config applies to each step.

    Args:
        workflow: The registered name; it names the config and the ops.
        extract: ``extract(config)`` yields batches of rows.
        transform: ``transform(rows)`` returns the rows to load.
        checks: Check name to an expression over the transformed rows that is true for good ones.

    Raises:
        ConfigError: The workflow's config is not valid.
    """
    pipeline = make_pipeline(workflow, extract=extract, transform=transform, checks=checks)
    retry = retry_policy(config_manager.load_config(workflow))

    @dg.op(
        name=f"{workflow}_dbt", description="Builds and tests the dbt models.", retry_policy=retry
    )
    def dbt_op(context: dg.OpExecutionContext, run: StagedRun) -> dg.Output[None]:
        with reported(pipeline):
            result = build(pipeline.config(run), run_id=context.run_id)
            raise_failures(result)
            pipeline.finish(run.run_id)
        return dg.Output(None, metadata=dbt_metadata(result))

    return PipelineOps(
        extract=extract_op(pipeline, retry),
        transform=transform_op(pipeline, retry),
        load=load_op(pipeline, retry),
        dbt=dbt_op,
    )


_pipelines: dict[str, Pipeline] = {}


def make_pipeline(
    workflow: str, *, extract: Extract, transform: Transform, checks: Mapping[str, pl.Expr]
) -> Pipeline:
    """Return the pipeline of a workflow; `run_on_no_rows` and `table_assets` find it by name."""
    _pipelines[workflow] = Pipeline(workflow, extract, transform, checks)
    return _pipelines[workflow]


def run_on_no_rows(config: WorkflowConfig) -> pl.Schema | None:
    """Run a workflow's transform and checks on a frame of its declared columns, without rows.

    Raises whatever they raise. Returns the columns of the raw table, or None: without declared
    columns there is nothing to run them on.
    """
    pipeline = _pipelines.get(config.workflow)
    columns = config.processing.columns
    if pipeline is None or not columns:
        return None
    accepted = check_rows(
        pl.LazyFrame(schema={name: dtype_of(kind) for name, kind in columns.items()}),
        columns=columns,
        transform=pipeline.transform,
        checks=pipeline.checks,
        primary_key=config.processing.primary_key,
        on_rejected=lambda _: None,
    )
    return loadable(accepted).collect().schema


def table_assets(config: WorkflowConfig) -> list[dg.AssetSpec]:
    """Return the assets of the tables that a workflow's pipeline loads, none without a pipeline."""
    if config.workflow not in _pipelines:
        return []
    kinds: set[str] = {config.output.warehouse}
    accepted = dg.AssetSpec(
        [config.workflow, "raw", config.output.table],
        description="Rows that passed the checks.",
        group_name=config.workflow,
        kinds=kinds,
        metadata=_column_schema(config.processing.columns),
    )
    rejected = dg.AssetSpec(
        [config.workflow, "raw", config.output.rejected_table],
        description="Rows that a check rejected, with the reason.",
        group_name=config.workflow,
        kinds=kinds,
    )
    return [accepted, rejected]


def _column_schema(columns: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata with the columns of a table, by name their types."""
    if not columns:
        return {}
    found = [dg.TableColumn(name, kind) for name, kind in columns.items()]
    return {"dagster/column_schema": dg.TableSchema(found)}


def extract_op(pipeline: Pipeline, retry: dg.RetryPolicy | None) -> dg.OpDefinition:
    """Return the op that stages the source's rows."""

    @dg.op(
        name=f"{pipeline.workflow}_extract",
        config_schema=_OVERRIDES,
        description="Stages the source's rows as they are.",
        retry_policy=retry,
    )
    def extract(context: dg.OpExecutionContext) -> dg.Output[StagedRun]:
        # `last_run` finds runs that the UI or a schedule started, too.
        context.instance.add_run_tags(context.run_id, {RUN_TAG: pipeline.workflow})
        with reported(pipeline):
            options = step_overrides(context.op_config)
            rejected = context.op_config.get("rejected")
            run = pipeline.run_extract(
                context.run_id, **options, window=_window(context), rejected=rejected
            )
            used = config_manager.show(pipeline.workflow, **options)
        config = dg.MetadataValue.json(used.config)  # secrets are masked in it
        # Rows of files that are read in place are counted when transform reads them.
        counts = {} if run.files else {"rows_extracted": run.extracted}
        return dg.Output(run, metadata={**counts, "config": config})

    return extract


def transform_op(pipeline: Pipeline, retry: dg.RetryPolicy | None) -> dg.OpDefinition:
    """Return the op that parses, transforms and checks the staged rows."""

    @dg.op(
        name=f"{pipeline.workflow}_transform",
        description="Parses, transforms and checks the rows.",
        retry_policy=retry,
    )
    def transform(context: dg.OpExecutionContext, run: StagedRun) -> dg.Output[StagedRun]:
        with reported(pipeline):
            run = pipeline.run_transform(run)
        counts: dict[str, Any] = {
            "rows_rejected": run.rejected,
            "rejected_by": dg.MetadataValue.json(dict(run.rejected_by)),
            "rows_duplicates": run.duplicates,
        }
        if run.files:
            counts["rows_extracted"] = run.extracted
        return dg.Output(run, metadata=counts)

    return transform


def load_op(
    pipeline: Pipeline, retry: dg.RetryPolicy | None, outs: Mapping[str, dg.Out] | None = None
) -> dg.OpDefinition:
    """Return the op that loads the staged rows.

    Args:
        pipeline: The workflow's pipeline.
        retry: How often it is tried again.
        outs: One output for each loaded table, then one for each check, for an asset graph; by
            default the staged run.
    """

    @dg.op(
        name=f"{pipeline.workflow}_load",
        description="Loads the rows, and the rejected ones into a table of their own.",
        out=dict(outs) if outs else {"result": dg.Out(StagedRun)},
        retry_policy=retry,
    )
    def load(context: dg.OpExecutionContext, run: StagedRun) -> Iterator[dg.Output[Any]]:
        with reported(pipeline):
            nodes = {node.name for node in context.job_def.all_node_defs}
            run = pipeline.run_load(run, last=f"{pipeline.workflow}_dbt" not in nodes)
            config = pipeline.config(run)
        facts = [_table_facts(run, config), _rejected_facts(run, config)]
        if outs is None:
            for spec, found in zip(table_assets(config), facts, strict=True):
                context.log_event(dg.AssetMaterialization(spec.key, metadata=found))
            yield dg.Output(run, metadata=facts[0])
            return
        for check in pipeline.checks:
            # `log_event` is annotated for other events; outputs would need one step for each check.
            context.log_event(_evaluation(check, run, config))  # type: ignore[arg-type]
        for number, name in enumerate(outs):
            yield dg.Output(None, name, metadata=facts[number] if number < len(facts) else None)

    return load


def _table_facts(run: StagedRun, config: WorkflowConfig) -> dict[str, Any]:
    names = list(tables(config))
    warehouse = {"type": config.output.warehouse, "location": location(config)}
    return {
        "rows_loaded": run.loaded,
        "rejected_ratio": run.rejected / run.extracted if run.extracted else 0.0,
        "loaded_tables": dg.MetadataValue.json(names),
        "warehouse": dg.MetadataValue.json(warehouse),
        "dagster/table_name": names[0],
        "dagster/row_count": run.loaded,
        **_column_schema(run.columns),
    }


def _rejected_facts(run: StagedRun, config: WorkflowConfig) -> dict[str, Any]:
    return {"dagster/table_name": tables(config)[1], "dagster/row_count": run.rejected}


def _evaluation(check: str, run: StagedRun, config: WorkflowConfig) -> dg.AssetCheckEvaluation:
    rejected = run.rejected_by.get(check, 0)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([config.workflow, "raw", config.output.table]),
        check_name=dagster_name(check),
        passed=rejected == 0,
        severity=dg.AssetCheckSeverity.WARN,  # the run goes on without the rows
        metadata={"rejected_rows": rejected},
    )


def retry_policy(config: WorkflowConfig) -> dg.RetryPolicy | None:
    """Return the retry policy of the workflow's steps, None where they are not retried."""
    retries = config.retries
    if not retries.max_retries:
        return None
    backoff = None if retries.backoff == "none" else dg.Backoff[retries.backoff.upper()]
    return dg.RetryPolicy(max_retries=retries.max_retries, delay=retries.delay, backoff=backoff)


def _window(context: dg.OpExecutionContext) -> Window | None:
    window = parse_window(context.op_config.get("from"), context.op_config.get("to"))
    if not context.has_partition_key:
        return window
    if window is not None:
        raise UsageError(
            "a run has a partition or a window, not both", hint="leave 'from' and 'to' out"
        )
    partition = context.partition_time_window
    return Window(start=partition.start.astimezone(UTC), end=partition.end.astimezone(UTC))


@contextmanager
def reported(pipeline: Pipeline) -> Iterator[None]:
    """Turn an error of a step into a Dagster failure with a readable message, secrets masked.

    What the user has to fix (a config, rejected rows) is not retried; anything else may be.
    """
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except DataflowError as error:
        raise _failure(error.message, error.hint, retry=isinstance(error, TransientError)) from None
    except Exception as error:
        # A bug in the workflow's own code: the traceback is in the step's log.
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).is_relative_to(pipeline.folder)]
        frame = (own or frames)[-1]
        dg.get_dagster_logger().error(mask("".join(traceback.format_exception(error))))
        message = f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
        raise _failure(message, None, retry=True) from None


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
        found = failure.message
        if failure.failures is not None:
            found = f"{failure.failures} failing rows"
        lines.append(f"{failure.name}{of}: {found}")
    # A test that found rows finds them again. An error may come from a lost connection.
    retry = all(failure.failures is None for failure in result.failed)
    message = "dbt build failed: " + "; ".join(lines)
    raise _failure(message, None, retry=retry, **dbt_metadata(result))


def dbt_metadata(result: DbtResult) -> dict[str, Any]:
    """Return the metadata that records a dbt build."""
    found: dict[str, Any] = {"models": result.models, "tests": result.tests}
    if result.failed:
        found["failed_nodes"] = dg.MetadataValue.json([asdict(node) for node in result.failed])
    return found


def _failure(message: str, hint: str | None, *, retry: bool, **metadata: Any) -> dg.Failure:
    message = mask(message)
    details = {"message": message} | ({"hint": mask(hint)} if hint else {})
    return dg.Failure(description=message, metadata={**details, **metadata}, allow_retries=retry)
