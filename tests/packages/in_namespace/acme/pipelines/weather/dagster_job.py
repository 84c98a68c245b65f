from dagster import job, op

from dataflow_runtime import register_workflow


@op
def weather_op() -> None: ...


@register_workflow(
    name="weather", metadata={"description": "In a namespace package", "owner": "acme"}
)
@job
def weather_job() -> None:
    weather_op()
