"""Lineage is sent to an OpenLineage receiver with nothing but a dagster.yaml, as the docs say."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "dagster.md"


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a receiver on loopback gets."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/api/v1/lineage"
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.server_port}")
    yield received
    server.shutdown()
    server.server_close()


def test_tables_their_columns_and_runs_are_sent(
    site: Any, run: Any, events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("shipments")
    [settings] = re.findall(r"```yaml\n(event_log_storage:.*?)```", DOCS.read_text(), re.DOTALL)
    home = site.home / "dagster"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text(settings)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    report = run("shipments")
    assert report.status == "success"
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
