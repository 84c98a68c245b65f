from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from dataflow_runtime.orchestration.schedules import build_schedule, partitions_of

CURSOR = {"cursor": {"column": "at"}}


@pytest.fixture
def scheduled(configure: Any) -> Any:
    def make(partitions: str | None, *, timezone: str = "UTC", start: str = "2026-03-01") -> Any:
        schedule = {"partitions": partitions, "timezone": timezone} | (
            {"partitions_start": date.fromisoformat(start)} if partitions else {}
        )
        return configure(processing=CURSOR, schedule=schedule)

    return make


def test_a_workflow_is_not_partitioned_unless_it_says_so(scheduled: Any) -> None:
    assert partitions_of(scheduled(None)) is None


@pytest.mark.parametrize(
    ("kind", "first", "number"),
    [
        ("hourly", "2026-03-01-00:00", 31 * 24),
        ("daily", "2026-03-01", 31),
        ("weekly", "2026-03-02", 4),
        ("monthly", "2026-03-01", 1),
    ],
)
def test_partitions_begin_on_the_first_day(
    scheduled: Any, kind: str, first: str, number: int
) -> None:
    partitions = partitions_of(scheduled(kind))
    assert partitions is not None
    keys = partitions.get_partition_keys(current_time=datetime(2026, 4, 1, tzinfo=UTC))
    assert (keys[0], len(keys)) == (first, number)


def test_a_day_is_one_of_the_time_zone(scheduled: Any) -> None:
    partitions = partitions_of(scheduled("daily", timezone="Europe/Berlin"))
    assert partitions is not None
    # The day on which clocks go forward has 23 hours.
    window = partitions.time_window_for_partition_key("2026-03-29")
    assert window.start.astimezone(UTC) == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert window.end.astimezone(UTC) == datetime(2026, 3, 29, 22, tzinfo=UTC)


def test_hours_of_the_day_on_which_clocks_go_back_are_all_there_once(scheduled: Any) -> None:
    partitions = partitions_of(scheduled("hourly", timezone="Europe/Berlin", start="2026-10-25"))
    assert partitions is not None
    keys = partitions.get_partition_keys(current_time=datetime(2026, 10, 25, 23, tzinfo=UTC))
    windows = [partitions.time_window_for_partition_key(key) for key in keys]
    assert len(set(keys)) == 25
    assert all(before.end == after.start for before, after in pairwise(windows))


def requested(config: Any, cron: str, tick: datetime) -> list[str | None]:
    @dg.op
    def work() -> None: ...

    @dg.job(partitions_def=partitions_of(config))
    def a_job() -> None:
        work()

    schedule = build_schedule("things", a_job, config, cron)
    repository = dg.Definitions(jobs=[a_job], schedules=[schedule]).get_repository_def()
    context = dg.build_schedule_context(scheduled_execution_time=tick, repository_def=repository)
    return [request.partition_key for request in schedule.evaluate_tick(context).run_requests or ()]


def test_a_tick_runs_the_partition_that_has_just_ended(scheduled: Any) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    config = scheduled("daily", timezone="Europe/Berlin")
    assert requested(config, "0 5 * * *", datetime(2026, 3, 10, 5, tzinfo=berlin)) == ["2026-03-09"]
    assert requested(config, "0 0 * * *", datetime(2026, 3, 10, tzinfo=berlin)) == ["2026-03-09"]


def test_a_tick_runs_all_partitions_since_the_tick_before_and_each_only_once(
    scheduled: Any,
) -> None:
    config = scheduled("hourly")
    ticks = [datetime(2026, 3, 10, hour, 30, tzinfo=UTC) for hour in (6, 12, 18)]
    keys = [requested(config, "30 */6 * * *", tick) for tick in ticks]
    assert keys[0] == [f"2026-03-10-0{hour}:00" for hour in range(6)]
    assert [len(found) for found in keys] == [6, 6, 6]
    assert len({key for found in keys for key in found}) == 18


def test_a_tick_between_the_ends_of_partitions_runs_nothing(scheduled: Any) -> None:
    config = scheduled("daily")
    assert requested(config, "0 * * * *", datetime(2026, 3, 10, 0, tzinfo=UTC)) == ["2026-03-09"]
    assert requested(config, "0 * * * *", datetime(2026, 3, 10, 1, tzinfo=UTC)) == []


def test_a_tick_before_the_first_partition_has_ended_runs_nothing(scheduled: Any) -> None:
    assert requested(scheduled("daily"), "0 5 * * *", datetime(2026, 3, 1, 5, tzinfo=UTC)) == []
