"""The queue that ``dagster.yaml`` names: each run in it has the tag of its workflow."""

from __future__ import annotations

import dagster as dg

from dataflow_runtime.orchestration._dagster import dagster_name
from dataflow_runtime.orchestration.listing import RUN_TAG
from dataflow_runtime.workflows.discovery import find_workflows

__all__ = ["WorkflowRunCoordinator"]


class WorkflowRunCoordinator(dg.QueuedRunCoordinator):
    """Dagster's own queue, where runs of chosen assets and backfills wait like runs of the job.

    Dagster makes the jobs of such runs itself, without the tags of the workflow's job. The way to
    add tags is Dagster's:
    https://docs.dagster.io/guides/deploy/execution/customizing-run-queue-priority
    """

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Tag the run with the workflow whose repository it comes from, and queue it."""
        run = context.dagster_run
        origin = run.remote_job_origin
        if origin is not None and RUN_TAG not in run.tags:
            repository = origin.repository_origin.repository_name
            for workflow in find_workflows():
                if dagster_name(workflow.name) == repository:
                    self._instance.add_run_tags(run.run_id, {RUN_TAG: workflow.name})
        return super().submit_run(context)
