from dagster import define_asset_job

from dataflow_runtime import register_workflow
from shipments.assets import assets

shipments_job = register_workflow(
    name="shipments", metadata={"description": "Shipments, as assets"}
)(define_asset_job("shipments_job", selection=assets))
