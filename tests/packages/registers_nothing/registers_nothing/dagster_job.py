from dagster import job, op


@op
def nothing_op() -> None: ...


@job
def nothing_job() -> None:
    nothing_op()
