from dagster import job, op

from dataflow_runtime import register_workflow


@op
def twice_op() -> None: ...


@register_workflow(name="twice", metadata={"description": "Claimed by a", "owner": "team-a"})
@job
def twice_job() -> None:
    twice_op()
