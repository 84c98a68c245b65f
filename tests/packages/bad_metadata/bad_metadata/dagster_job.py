from dagster import job, op

from dataflow_runtime import register_workflow


@op
def bad_metadata_op() -> None: ...


@register_workflow(name="bad_metadata", metadata={"owner": 7, "tags": 3})
@job
def bad_metadata_job() -> None:
    bad_metadata_op()
