"""Lineage is sent to an OpenLineage receiver with nothing but a dagster.yaml, as the docs say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.receiver import Receiver

pytestmark = pytest.mark.e2e

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "dagster.md"


def test_tables_their_columns_and_runs_are_sent(
    site: Any, run: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://{receiver.address}")
    site.install("shipments")
    [settings] = re.findall(r"```yaml\n(event_log_storage:.*?)```", DOCS.read_text(), re.DOTALL)
    home = site.home / "dagster"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text(settings)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    report = run("shipments")
    assert report.status == "success"
    assert receiver.paths == {"/api/v1/lineage"}
    events = receiver.received
    outputs = {
        dataset["name"]: dataset["facets"]
        for event in events
        for dataset in event.get("outputs", [])
    }
    assert {"shipments/raw/shipments", "shipments/raw/shipments_rejected"} <= set(outputs)
    fields = outputs["shipments/raw/shipments"]["schema"]["fields"]
    assert {field["name"]: field["type"] for field in fields} == {
        "id": "bigint",
        "sent_at": "timestamptz",
        "weight": "double precision",
    }
    runs = {event["run"]["runId"] for event in events if event["eventType"] == "COMPLETE"}
    assert report.run_id in runs
