from dagster import job, op

from dataflow_runtime import register_workflow


@op
def good_op() -> None: ...


@register_workflow(
    name="good",
    metadata={
        "description": "Does its work",
        "owner": "data-team",
        "schedule": "0 3 * * *",
        "tags": ["fixture", "nightly"],
        "runbook": "on the wall",
    },
)
@job
def good_job() -> None:
    good_op()
