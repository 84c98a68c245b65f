import a_module_that_is_not_installed  # noqa: F401
from dagster import job, op

from dataflow_runtime import register_workflow


@op
def import_error_op() -> None: ...


@register_workflow(
    name="import_error", metadata={"description": "Cannot be imported", "owner": "team-a"}
)
@job
def import_error_job() -> None:
    import_error_op()
