from dagster import job, op

from dataflow_runtime import register_workflow

METADATA = {"description": "Known once loaded", "owner": "data-team"}


@op
def not_literal_op() -> None: ...


@register_workflow(name="not_literal", metadata=METADATA)
@job
def not_literal_job() -> None:
    not_literal_op()
