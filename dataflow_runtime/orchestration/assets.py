"""The pipeline as Dagster assets: raw tables and dbt models with lineage, dbt tests as checks."""

# No `from __future__ import annotations` here: Dagster reads the types of its `context` parameters.

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import polars as pl
from dagster_dbt import DagsterDbtTranslator, dbt_assets

from dataflow_runtime.config import WorkflowConfig, config_manager
from dataflow_runtime.orchestration._dagster import dagster_name
from dataflow_runtime.orchestration.ops import (
    dbt_metadata,
    extract_op,
    load_op,
    make_pipeline,
    raise_failures,
    reported,
    retry_policy,
    table_assets,
    transform_op,
)
from dataflow_runtime.orchestration.run_config import run_overrides
from dataflow_runtime.orchestration.schedules import partitions_of
from dataflow_runtime.pipeline.checks import Transform
from dataflow_runtime.pipeline.dbt import DbtResult, build, manifest_path
from dataflow_runtime.pipeline.load import count_rows
from dataflow_runtime.pipeline.steps import Extract, Pipeline

__all__ = ["pipeline_assets"]

_UNIQUE_ID = "dagster_dbt/unique_id"


def pipeline_assets(
    workflow: str, *, extract: Extract, transform: Transform, checks: Mapping[str, pl.Expr]
) -> list[dg.AssetsDefinition]:
    """Return a workflow's assets: the table, its rejected rows, and the dbt models on top of them.

    Keys start with the workflow's name: ``<workflow>/raw/<table>``, ``<workflow>/<model>``. The
    arguments are those of `pipeline_ops`. A job of these assets does what a job of the ops does.

    Raises:
        ConfigError: The workflow's config is not valid.
        DataflowError: The dbt project cannot be parsed.
    """
    pipeline = make_pipeline(workflow, extract=extract, transform=transform, checks=checks)
    config = config_manager.load_config(workflow)
    retry = retry_policy(config)
    return [_raw_assets(pipeline, config, retry), _dbt_assets(pipeline, config, retry)]


def _raw_assets(
    pipeline: Pipeline, config: WorkflowConfig, retry: dg.RetryPolicy | None
) -> dg.AssetsDefinition:
    table, rejected = table_assets(config)
    checks = [dg.AssetCheckSpec(dagster_name(name), asset=table.key) for name in pipeline.checks]
    check_outs = [check.get_python_identifier() for check in checks]
    outs = {name: dg.Out(dg.Nothing) for name in ("table", "rejected", *check_outs)}
    extract = extract_op(pipeline, retry)
    transform = transform_op(pipeline, retry)
    load = load_op(pipeline, retry, outs)

    @dg.graph_multi_asset(
        name=f"{config.workflow}_raw",
        group_name=config.workflow,
        partitions_def=partitions_of(config),
        check_specs=checks,
        outs={"table": dg.AssetOut.from_spec(table), "rejected": dg.AssetOut.from_spec(rejected)},
    )
    def raw() -> Any:
        return dict(zip(outs, load(transform(extract())), strict=True))

    return raw


class _Translator(DagsterDbtTranslator):
    """Puts a workflow's dbt nodes under its name, and its sources onto the raw tables."""

    def __init__(self, workflow: str) -> None:
        super().__init__()
        self._workflow = workflow

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey([self._workflow, "raw", dbt_resource_props["identifier"]])
        return super().get_asset_key(dbt_resource_props).with_prefix(self._workflow)

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return self._workflow


def _dbt_assets(
    pipeline: Pipeline, config: WorkflowConfig, retry: dg.RetryPolicy | None
) -> dg.AssetsDefinition:
    @dbt_assets(
        manifest=manifest_path(config),
        name=f"{pipeline.workflow}_dbt",
        dagster_dbt_translator=_Translator(pipeline.workflow),
        retry_policy=retry,
        # No partitions: dbt always builds a model from all rows.
    )
    def models(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        specs = context.assets_def.specs_by_key
        keys = {specs[key].metadata[_UNIQUE_ID]: key for key in context.selected_asset_keys}
        # Without selectors, tests on sources run too.
        whole = len(keys) == len(specs)
        select = () if whole else tuple(key.path[-1] for key in keys.values())
        with reported(pipeline):
            options = run_overrides(context.run.run_config)
            config = config_manager.load_config(pipeline.workflow, **options)
            result = build(config, run_id=context.run.run_id, select=select)
            rows = count_rows(config, result.tables)
        # dbt's order: Dagster wants an asset after those that it depends on.
        for unique_id, status in result.status.items():
            if unique_id in keys and status == "success":
                metadata = {**dbt_metadata(result), "seconds": result.seconds[unique_id]}
                if unique_id in rows:
                    metadata["dagster/row_count"] = rows[unique_id]
                yield dg.MaterializeResult(asset_key=keys[unique_id], metadata=metadata)
        yield from _check_results(context, result)
        raise_failures(result)
        # A re-execution from failure ends the run that it is one of.
        pipeline.finish(context.run.root_run_id or context.run.run_id)

    return models


def _check_results(
    context: dg.AssetExecutionContext, result: DbtResult
) -> Iterator[dg.AssetCheckResult]:
    for check in context.selected_asset_check_keys:
        spec = context.assets_def.get_spec_for_check_key(check)
        status = result.status.get((spec.metadata or {}).get(_UNIQUE_ID, ""))
        if status is not None:
            passed = status in ("pass", "warn")
            yield dg.AssetCheckResult(
                asset_key=check.asset_key, check_name=check.name, passed=passed
            )
