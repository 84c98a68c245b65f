"""What the site says about each workflow: its state, its runs, its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from dataflow_runtime.config.schedule import cron_problem
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.dashboards.export import write_table
from dataflow_runtime.dashboards.model import Dashboard
from dataflow_runtime.orchestration.listing import describe, has_instance, last_runs
from dataflow_runtime.orchestration.schedules import last_tick
from dataflow_runtime.settings import Settings

__all__ = ["collect_facts", "health", "write_workflows"]

_RUNS = 10
_GRACE = timedelta(hours=1)
"""How long after its time a scheduled run may start before the workflow is late."""

_ACTIVE = ("queued", "not_started", "managed", "starting", "started", "canceling")

_COLUMNS = {
    **dict.fromkeys(("workflow", "title", "description", "owner", "schedule"), "varchar"),
    **dict.fromkeys(("status", "last_status"), "varchar"),
    **dict.fromkeys(("last_run", "as_of"), "timestamptz"),
    **dict.fromkeys(("last_seconds", "rejected_share"), "double"),
    **dict.fromkeys(("row_count", "rejected_count"), "bigint"),
}
"""The columns of the table `workflows`, with their types: facts of these names."""


def collect_facts(dashboards: Sequence[Dashboard], settings: Settings) -> list[dict[str, Any]]:
    """Return the facts about each workflow, as JSON."""
    runs: dict[str, list[dict[str, Any]]] = {}
    if has_instance():
        from dagster import DagsterInstance

        with DagsterInstance.from_config(str(settings.dagster_home)) as instance:
            for dashboard in dashboards:
                runs[dashboard.name] = last_runs(instance, dashboard.name, _RUNS)
    return [_facts(dashboard, runs.get(dashboard.name, []), settings) for dashboard in dashboards]


def _facts(
    dashboard: Dashboard, runs: Sequence[Mapping[str, Any]], settings: Settings
) -> dict[str, Any]:
    entry = describe(dashboard.workflow)
    last = runs[0] if runs else {}
    url = settings.dashboards_dagster_url
    return {
        "workflow": dashboard.name,
        "title": dashboard.title,
        "description": entry.description,
        "owner": entry.owner,
        "schedule": entry.schedule,
        "timezone": dashboard.timezone,
        "page": None if dashboard.name_problem else f"/{dashboard.name}",
        "dashboard": dashboard.status,
        "status": health(dashboard, runs, entry.schedule, datetime.now(UTC)),
        "last_run": last.get("started"),
        "last_status": last.get("status"),
        "last_seconds": last.get("seconds"),
        "run_url": f"{url.rstrip('/')}/runs/{last['run_id']}" if url and last else None,
        "runs": [run["status"] for run in reversed(runs)],
        "as_of": dashboard.as_of and dashboard.as_of.isoformat(),
        "unread": dashboard.unread is not None,
        "row_count": dashboard.rows,
        "rejected_count": dashboard.rejected,
        "rejected_share": dashboard.rejected_share,
        "rejected_before": dashboard.rejected_before,
        # A page names no folders of the machine that built it.
        "problems": [
            problem.to_json()
            | {"file": problem.file and problem.file.name, "message": mask(problem.message)}
            for problem in dashboard.problems
        ],
    }


def health(
    dashboard: Dashboard, runs: Sequence[Mapping[str, Any]], cron: str | None, now: datetime
) -> str:
    """Return a workflow's state, the worst that applies.

    Args:
        dashboard: Its dashboard.
        runs: Its last runs, the newest first.
        cron: The cron expression that starts it, None if nothing does.
        now: The time to compare its schedule with.

    Returns:
        ``failed``, ``broken``, ``running``, ``late``, ``not run`` or ``ok``.
    """
    status = runs[0]["status"] if runs else None
    if status in ("failure", "canceled"):
        return "failed"
    if dashboard.status == "broken":
        return "broken"
    if status in _ACTIVE:
        return "running"
    if not runs:
        return "not run" if dashboard.rows is None else "ok"
    due = now - dashboard.max_age if dashboard.max_age else None
    if due is None and cron is not None and cron_problem(cron) is None:
        due = last_tick(cron, dashboard.timezone, now - _GRACE)
    return "late" if due and datetime.fromisoformat(runs[0]["started"]) < due else "ok"


def write_workflows(facts: Sequence[Mapping[str, Any]], data: Path) -> None:
    """Write the table ``workflows``, which any page may query."""
    rows = [[fact[name] for name in _COLUMNS] for fact in facts]
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    with duckdb.connect() as connection:
        connection.execute(f"set timezone = 'UTC'; create table workflows ({columns})")
        if rows:
            marks = ", ".join("?" * len(_COLUMNS))
            connection.executemany(f"insert into workflows values ({marks})", rows)  # noqa: S608
        write_table(connection.table("workflows"), data / "workflows")
