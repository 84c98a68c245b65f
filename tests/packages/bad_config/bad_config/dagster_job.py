from dagster import job, op

from dataflow_runtime import register_workflow


@op
def bad_config_op() -> None: ...


@register_workflow(
    name="bad_config", metadata={"description": "Has a misspelt key", "owner": "team-a"}
)
@job
def bad_config_job() -> None:
    bad_config_op()
