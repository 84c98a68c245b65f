"""extract: the events of the file, of the API and of the generator, in the same columns."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import polars as pl
import pytest
from dataflow_runtime.config import WorkflowConfig, config_manager

from example_workflow.ingestion import extract

EVENTS_OF_THE_WEEK = 1707


@pytest.fixture
def feed(config: WorkflowConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve the snapshot as the USGS serves its feed."""
    assert config.source.file is not None
    body = (config.root / config.source.file.path).read_bytes()

    class Feed(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Feed)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("EXAMPLE_WORKFLOW_API_URL", f"http://127.0.0.1:{server.server_port}/all_week.geojson")
    yield
    server.shutdown()
    server.server_close()


def load(source: str, **overrides: object) -> WorkflowConfig:
    return config_manager.load_config("example_workflow", overrides={"source.type": source, **overrides})


def test_the_snapshot_holds_the_events_of_a_week(config: WorkflowConfig) -> None:
    rows = pl.concat(extract(config))
    assert rows.height == rows["id"].n_unique() == EVENTS_OF_THE_WEEK
    assert set(config.processing.columns) <= set(rows.columns)
    assert json.loads(rows["geometry"][0]) == {"type": "Point", "coordinates": [-118.6671667, 34.4945, 26.49]}


def test_the_api_yields_what_the_file_holds(config: WorkflowConfig, feed: None) -> None:
    columns = [name for name in config.processing.columns if name != "geometry"]
    served, shipped = pl.concat(extract(load("api"))), pl.concat(extract(config))
    assert served.select(columns).equals(shipped.select(columns))
    assert [json.loads(text) for text in served["geometry"]] == [json.loads(text) for text in shipped["geometry"]]


def test_generated_events_have_the_columns_of_the_feed(config: WorkflowConfig) -> None:
    rows = pl.concat(extract(load("mock", **{"source.mock.rows": 500})))
    assert rows.height == rows["id"].n_unique() == 500
    assert set(rows.columns) == set(config.processing.columns)


def test_the_same_seed_generates_the_same_events() -> None:
    first, again, other = (pl.concat(extract(load("mock", **{"source.mock.seed": seed}))) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_events_come_in_batches() -> None:
    overrides = {"processing.batch_size": 400, "source.mock.rows": 1000}
    assert [batch.height for batch in extract(load("mock", **overrides))] == [400, 400, 200]


def test_the_environment_chooses_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_WORKFLOW_SOURCE", "mock")
    assert config_manager.load_config("example_workflow").source.type == "mock"
