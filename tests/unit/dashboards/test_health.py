"""A workflow's state, from its last runs, its schedule and its dashboard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dataflow_runtime.dashboards.health import health
from dataflow_runtime.dashboards.model import Dashboard, DashboardProblem
from dataflow_runtime.workflows.discovery import InstalledWorkflow

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def dashboard(**values: Any) -> Dashboard:
    return Dashboard(InstalledWorkflow("sales", "sales", "1.0", "sales", "sales"), **values)


def run(status: str = "success", started: str = "2026-03-10T06:00:00+00:00") -> dict[str, Any]:
    return {"status": status, "started": started}


@pytest.mark.parametrize(
    ("runs", "cron", "timezone", "expected"),
    [
        ([], None, "UTC", "ok"),
        ([run()], None, "UTC", "ok"),
        ([run()], "0 6 * * *", "UTC", "ok"),
        ([run()], "0 * * * *", "UTC", "late"),
        # The run of 12:00 has an hour to begin.
        ([run(started="2026-03-10T10:59:00+00:00")], "0 12 * * *", "UTC", "ok"),
        ([run(started="2026-03-10T10:59:00+00:00")], "0 11 * * *", "UTC", "late"),
        # 07:00 in Tokyo was 22:00 UTC of the day before, 07:00 in New York is 11:00 UTC.
        ([run()], "0 7 * * *", "Asia/Tokyo", "ok"),
        ([run()], "0 7 * * *", "America/New_York", "late"),
        ([run()], "not a cron", "UTC", "ok"),
        ([run("failure"), run()], None, "UTC", "failed"),
        ([run("canceled")], None, "UTC", "failed"),
        ([run(), run("failure")], None, "UTC", "ok"),
        ([run("started", "2026-01-01T00:00:00+00:00")], "0 * * * *", "UTC", "running"),
    ],
)
def test_the_worst_that_applies_is_the_state(
    runs: list[dict[str, Any]], cron: str | None, timezone: str, expected: str
) -> None:
    assert health(dashboard(rows=3, timezone=timezone), runs, cron, NOW) == expected


@pytest.mark.parametrize(("hours", "expected"), [(7, "ok"), (5, "late")])
def test_freshness_decides_where_the_config_sets_it(hours: int, expected: str) -> None:
    found = dashboard(rows=3, max_age=timedelta(hours=hours))
    assert health(found, [run()], "0 * * * *", NOW) == expected


def test_a_broken_dashboard_is_not_ok_unless_the_run_failed() -> None:
    broken = dashboard(rows=3).broken(DashboardProblem("wrong"))
    assert health(broken, [run()], None, NOW) == "broken"
    assert health(broken, [run("failure")], None, NOW) == "failed"


def test_no_run_and_no_rows_is_not_run() -> None:
    assert health(dashboard(), [], "0 * * * *", NOW) == "not run"
