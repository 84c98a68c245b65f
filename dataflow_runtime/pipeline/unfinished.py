"""Remembers a load that may be in the warehouse although its run was killed.

Only an append without a cursor needs it: nothing in its rows tells a second load of them from new ones. Each load has
an id in the column `LOAD_ID`, and the id of an unfinished run stands beside its staging. The run that comes next takes
the id over, and its rows take the place of those with that id.
"""

from __future__ import annotations

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.staging import file_system, remove

__all__ = ["LOAD_ID", "finish", "load_id", "needs_load_id"]

LOAD_ID = "_load_id"
"""Column of the loaded table: the run that appended the row."""

_FILE = "unfinished"


def needs_load_id(config: WorkflowConfig) -> bool:
    """Return whether rows are known by the load that brought them."""
    return config.output.write_disposition == "append" and config.processing.cursor is None


def load_id(config: WorkflowConfig, staging: str, run_id: str) -> str:
    """Return the id of a load that begins now: that of the unfinished run, else `run_id`, which is then unfinished.

    Args:
        config: The workflow's config.
        staging: Folder or URL of the workflow's staging.
        run_id: The run.
    """
    if not needs_load_id(config):
        return run_id
    with file_system(staging) as (files, path):
        if files.exists(f"{path}/{_FILE}"):
            return str(files.read_text(f"{path}/{_FILE}"))
        files.makedirs(path, exist_ok=True)
        files.write_text(f"{path}/{_FILE}", run_id)
    return run_id


def finish(staging: str) -> None:
    """Note that no run of the workflow is unfinished."""
    remove(f"{staging}/{_FILE}")
