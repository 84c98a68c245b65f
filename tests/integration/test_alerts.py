"""Alerts of failed runs and late tables, received by a real HTTP server on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.orchestration import alerts
from dataflow_runtime.orchestration.repositories import build_repositories
from dataflow_runtime.orchestration.run import open_instance
from tests.integration.dagster_ui import eventually
from tests.integration.receiver import Receiver

TOKEN = "hook-s3cret-token"
DAEMON = Path(sysconfig.get_path("scripts"), "dagster-daemon")

pytestmark = pytest.mark.e2e


def configure(monkeypatch: pytest.MonkeyPatch, name: str, *addresses: str) -> None:
    monkeypatch.setenv(f"DATAFLOW__{name.upper()}__ALERTS__TO", json.dumps(addresses))
    monkeypatch.setenv(f"DATAFLOW__{name.upper()}__FRESHNESS__MAX_AGE", "2m")


def test_the_daemon_tells_of_a_failed_run(
    site: Any, run: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("orders")
    # A webhook of one's own, a service of Apprise's, and one that fails: the others are told.
    schemes = ("nonsense", "http", "json")
    configure(
        monkeypatch, "orders", *(f"{scheme}://{receiver.address}/{TOKEN}" for scheme in schemes)
    )
    with open_instance() as instance:
        daemon = subprocess.Popen(
            [DAEMON, "run", "-m", "dataflow_runtime.dagster_repo"],
            env=site.environ | os.environ | {"DAGSTER_HOME": str(site.home / "dagster")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        site.started.append(daemon)

        def state() -> Any:
            """The state of the sensor once it has begun to look for failures."""
            found = {one.name: one for one in instance.all_instigator_state()}
            sensor = found.get("orders_failure_alert")
            return sensor if sensor and sensor.instigator_data.cursor else None

        sensor = eventually(state, "the first tick")
        failed = run("orders", overrides={"source.file.path": "absent.csv"})
        eventually(lambda: len(receiver.received) == 2, "two alerts")
        eventually(lambda: "alert not sent" in ticks(instance, sensor), "the end of the tick")
        shown = ticks(instance, sensor)
    text = f"orders: run {failed.run_id} failed: extract: {failed.error['message']}"
    own, apprise = receiver.received
    assert own == {"workflow": "orders", "event": "failure", "text": text, "run_id": failed.run_id}
    assert apprise["message"] == text
    assert "nonsense: DataflowError: not an address that Apprise knows" in shown
    assert "s3cret" not in shown


def ticks(instance: dg.DagsterInstance, sensor: Any) -> str:
    return str(instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id))


def test_late_tables_are_told_once_until_they_are_loaded_again(
    site: Any, run: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("orders")
    configure(monkeypatch, "orders", f"http://{receiver.address}/{TOKEN}")
    repository = build_repositories(["orders"])[0]["orders"]
    sensor = repository.get_sensor_def("orders_late_alert")
    minutes = 0

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(minutes=minutes)

    monkeypatch.setattr(alerts, "datetime", Clock)
    with open_instance() as instance:
        cursor = None

        def tick() -> int:
            nonlocal cursor
            with dg.build_sensor_context(
                instance=instance, cursor=cursor, repository_def=repository
            ) as context:
                cursor = sensor.evaluate_tick(context).cursor
            return len(receiver.received)

        assert tick() == 0, "a workflow that has never run is not late"
        run("orders")
        assert tick() == 0
        minutes = 3
        assert [tick(), tick()] == [1, 1]
        minutes = 0  # as if they were loaded again
        assert tick() == 1
        minutes = 3
        assert [tick(), tick()] == [2, 2]
    alert = receiver.received[0]
    assert alert["event"] == "late"
    assert "orders/raw/orders" in alert["assets"]
    assert alert["text"].startswith("orders: older than 0:02:00: orders/")


def test_tables_are_in_the_group_of_the_workflow_with_the_freshness_policy_of_its_config(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("shipments", "orders")
    for name in ("SHIPMENTS", "ORDERS"):
        monkeypatch.setenv(f"DATAFLOW__{name}__FRESHNESS__MAX_AGE", "1d 2h")
    repositories, _ = build_repositories()
    for name in ("shipments", "orders"):
        graph = repositories[name].asset_graph
        tables = [key for key in graph.get_all_asset_keys() if "dashboard" not in key.path]
        assert len(tables) >= 2
        for key in tables:
            assert graph.get(key).group_name == name
            policy = graph.get(key).freshness_policy_or_from_metadata
            assert policy.fail_window.to_timedelta().total_seconds() == 26 * 3600


def test_sections_of_these_names_in_an_own_model_mean_what_they_mean_there() -> None:
    class Own(WorkflowConfig):
        alerts: str = "by phone"  # type: ignore[assignment]
        freshness: str = "daily"  # type: ignore[assignment]

    config = Own.model_validate({"source": {"type": "mock"}}, context={"workflow": "own"})
    spec = dg.AssetSpec("table")
    assert alerts.alert_sensors(config, None, []) == []
    assert alerts.with_freshness(spec, config) is spec
    assert config.max_age is None
