"""The job of example_workflow: a run of it materializes its assets."""

from dagster import define_asset_job
from dataflow_runtime import register_workflow

from example_workflow.assets import assets

example_workflow_job = register_workflow(
    name="example_workflow",
    metadata={
        "description": "Earthquakes of the last seven days, from the feed of the USGS",
        "owner": "data-team",
        "tags": ["file", "duckdb"],
    },
)(define_asset_job("example_workflow_job", selection=assets))
