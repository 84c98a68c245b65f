import sys

from dagster import job, op

from dataflow_runtime import register_workflow


@op
def sys_exit_op() -> None: ...


@register_workflow(name="sys_exit", metadata={"description": "Exits on import", "owner": "team-a"})
@job
def sys_exit_job() -> None:
    sys_exit_op()


sys.exit("no licence for this machine")
