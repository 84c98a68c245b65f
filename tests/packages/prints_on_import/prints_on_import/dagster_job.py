import os

from dagster import job, op

from dataflow_runtime import register_workflow


@op
def prints_on_import_op() -> None: ...


@register_workflow(
    name="prints_on_import", metadata={"description": "Talks a lot", "owner": "team-a"}
)
@job
def prints_on_import_job() -> None:
    prints_on_import_op()


print("hello from the workflow")  # noqa: T201
os.write(1, b"hello from below Python\n")
