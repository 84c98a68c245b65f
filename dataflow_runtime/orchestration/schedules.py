"""A workflow's partitions, and the schedule that runs each once it is over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import takewhile
from typing import Any

import dagster as dg

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.orchestration._dagster import running_schedules, ticks_before
from dataflow_runtime.orchestration.listing import list_workflows

__all__ = ["build_schedule", "last_tick", "partitions_of", "switched_off"]

# Cron and key format of Dagster's own partitions. A week begins on Monday, as in ISO 8601.
_KINDS = {
    "hourly": ("0 * * * *", "%Y-%m-%d-%H:%M"),
    "daily": ("0 0 * * *", "%Y-%m-%d"),
    "weekly": ("0 0 * * 1", "%Y-%m-%d"),
    "monthly": ("0 0 1 * *", "%Y-%m-%d"),
}


def partitions_of(config: WorkflowConfig) -> dg.TimeWindowPartitionsDefinition | None:
    """Return the partitions that ``schedule.partitions`` asks for, None where it asks for none."""
    schedule = config.schedule
    if schedule.partitions is None or schedule.partitions_start is None:
        return None
    cron, fmt = _KINDS[schedule.partitions]
    start = datetime.combine(schedule.partitions_start, datetime.min.time())
    return dg.TimeWindowPartitionsDefinition(
        start=start.strftime(fmt), fmt=fmt, cron_schedule=cron, timezone=schedule.timezone
    )


def build_schedule(
    workflow: str, job: Any, config: WorkflowConfig, cron: str
) -> dg.ScheduleDefinition:
    """Return the schedule of a job. A tick of a partitioned job runs what ended since the last one.

    A cron expression that fires more often than partitions end has ticks without a run; one that
    fires less often has ticks with several.
    """
    name, timezone = f"{workflow}_schedule", config.schedule.timezone
    partitions = partitions_of(config)
    if partitions is None:
        return dg.ScheduleDefinition(
            name=name, job=job, cron_schedule=cron, execution_timezone=timezone
        )

    def requests(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        keys = _ended(partitions, cron, timezone, context.scheduled_execution_time)
        yield from (dg.RunRequest(run_key=key, partition_key=key) for key in keys)
        if not keys:
            yield dg.SkipReason("no partition has ended since the last tick")

    return dg.ScheduleDefinition(
        name=name, job=job, cron_schedule=cron, execution_timezone=timezone, execution_fn=requests
    )


def _ended(
    partitions: dg.TimeWindowPartitionsDefinition, cron: str, timezone: str, tick: datetime
) -> list[str]:
    """Return the keys of the partitions that ended since the tick before `tick`, oldest first."""
    before = next(time for time in ticks_before(tick, cron, timezone) if time < tick)
    keys = reversed(partitions.get_partition_keys(current_time=tick))
    recent = takewhile(lambda key: partitions.time_window_for_partition_key(key).end > before, keys)
    return list(recent)[::-1]


def last_tick(cron: str, timezone: str, time: datetime) -> datetime:
    """Return the latest tick of a cron expression at or before a time."""
    return next(iter(ticks_before(time, cron, timezone)))


def switched_off(instance: dg.DagsterInstance) -> list[str]:
    """Return the workflows with a schedule that nobody has switched on."""
    running = running_schedules(instance)
    scheduled = [workflow.name for workflow in list_workflows() if workflow.schedule]
    return [name for name in scheduled if f"{name}_schedule" not in running]
