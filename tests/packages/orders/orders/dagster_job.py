from dagster import job

from dataflow_runtime import pipeline_ops, register_workflow
from orders.ingestion import extract
from orders.transform import CHECKS, transform

extract_op, transform_op, load_op, dbt_op = pipeline_ops(
    "orders", extract=extract, transform=transform, checks=CHECKS
)


@register_workflow(name="orders", metadata={"description": "Orders of a shop", "owner": "shop"})
@job
def orders_job() -> None:
    dbt_op(load_op(transform_op(extract_op())))
