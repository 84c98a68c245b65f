"""The workflow's Dagster assets: the loaded tables and every dbt model, with lineage between them."""

from dataflow_runtime import pipeline_assets

from example_workflow.ingestion import extract
from example_workflow.transform import CHECKS, transform

assets = pipeline_assets(
    "example_workflow",
    extract=extract,
    transform=transform,
    checks=CHECKS,
)
