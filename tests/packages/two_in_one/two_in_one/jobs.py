from dagster import job, op

from dataflow_runtime import register_workflow


@op
def walk() -> None: ...


@register_workflow(name="north", metadata={"description": "Goes north", "owner": "explorers"})
@job
def north_job() -> None:
    walk()


@register_workflow(name="south", metadata={"description": "Goes south", "owner": "explorers"})
@job
def south_job() -> None:
    walk()
