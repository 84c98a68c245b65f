"""Runs that the API launches, shows and cancels; killed servers and killed workers."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.conftest import Api, eventually

pytestmark = pytest.mark.e2e

SECRET = "planted-secret-of-a-run"

# Python reads this module when it starts. It kills the server where DIE says.
DIE = """
import os, signal, subprocess, sys

place = os.environ.get("DIE", "")
is_worker = "--run-id" in sys.orig_argv
server = os.getppid() if is_worker else os.getpid()


def die(*_):
    if server in (os.getppid(), os.getpid()):  # once
        os.kill(server, signal.SIGKILL)


class Popen(subprocess.Popen):
    def __init__(self, command, *args, **kwargs):
        launches = "--run-id" in command
        if launches and place == "before the worker starts":
            die()
        super().__init__(command, *args, **kwargs)
        if launches and place == "before the worker knows what to do":
            die()


if not is_worker:
    subprocess.Popen = Popen
elif place == "while the worker loads the workflow":
    from dataflow_runtime.config import config_manager

    load_config = config_manager.load_config
    config_manager.load_config = lambda *a, **k: (die(), load_config(*a, **k))[1]
elif place == "when the run is recorded":
    from dagster import DagsterInstance

    create = DagsterInstance.create_run_for_job
    DagsterInstance.create_run_for_job = lambda *a, **k: (create(*a, **k), die())[0]
"""
PLACES = [
    "before the worker starts",
    "before the worker knows what to do",
    "while the worker loads the workflow",
    "when the run is recorded",
]


def recorded(site: Any) -> list[str]:
    """Return the ids of the runs in Dagster's storage."""
    database = site.home / "dagster" / "history" / "runs.db"
    if not database.exists():
        return []
    with sqlite3.connect(database) as connection:
        return [row[0] for row in connection.execute("select run_id from runs")]


def worker_of(site: Any, run_id: str) -> int:
    with sqlite3.connect(site.home / "dagster" / "history" / "runs.db") as connection:
        (body,) = connection.execute(
            "select run_body from runs where run_id = ?", [run_id]
        ).fetchone()
    return int(json.loads(body)["tags"]["dataflow/worker"].rpartition(":")[2])


@pytest.fixture
def waits(site: Any) -> Any:
    """A folder in which the steps of `orders` wait for a file ``go``, and say that they do."""
    folder = site.folder.parent / "waits"
    folder.mkdir()
    return folder


def test_a_run_is_launched_and_reported_as_run_does(
    site: Any, serve: Callable[..., Api], waits: Path
) -> None:
    site.install("orders", "import_error", "bad_config")
    allowed = '["processing.*", "source.api.auth.token", "source.typ"]'
    api = serve(ORDERS_WAIT=str(waits), DATAFLOW__ORDERS__API__OVERRIDABLE=allowed)
    overrides = {"processing.batch_size": 7, "source.api.auth.token": SECRET}
    response = api("POST", "/workflows/orders/runs", json={"config": overrides, "env": None})
    assert response.status_code == 202
    queued = response.json()
    assert response.headers["location"] == f"/runs/{queued['run_id']}"
    assert queued["status"] in ("queued", "running")
    assert [step["name"] for step in queued["steps"]] == ["extract", "transform", "load", "dbt"]
    # Another one waits for its turn.
    second = api("POST", "/workflows/orders/runs", json={"env": "strict"}).json()["run_id"]
    eventually(lambda: [*waits.glob("here-*")])
    running = api.get(response.headers["location"])
    assert (running["status"], running["steps"][0]["status"]) == ("running", "running")
    assert {step["status"] for step in running["steps"][1:]} == {"queued"}
    assert api.get(f"/runs/{second}")["status"] == "queued"
    (waits / "go").touch()
    report = api.ended(queued["run_id"])
    assert report.keys() == queued.keys()
    assert report["status"] == "success", report["error"]
    assert report["rows"] == {"extracted": 40, "rejected": 4, "loaded": 36}
    assert report["rejected_by"] == {"amount_positive": 2, "type:amount": 1, "primary_key": 1}
    assert report["dbt"] == {"models": 2, "tests": 4, "failed": []}
    assert report["warehouse"] == {"type": "duckdb", "location": "$DATAFLOW_HOME/orders.duckdb"}
    assert report["tables"] == ["orders_raw.orders", "orders_raw.orders_rejected"]
    assert all(step["seconds"] > 0 for step in report["steps"])

    failed = api.ended(second)
    assert failed["status"] == "failure"
    assert [step["status"] for step in failed["steps"]] == [
        "success",
        "failure",
        "skipped",
        "skipped",
    ]
    assert failed["error"]["step"] == "transform"
    assert failed["error"]["hint"] == (
        "nothing was loaded; the rejected rows are in"
        f" $DATAFLOW_HOME/staging/orders/{second}/rejected"
    )
    assert api.get("/workflows/orders")["last_run"]["run_id"] == second
    for file in (site.home / "dagster").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), (
            f"a secret is recorded in {file}"
        )

    # What cannot be run is refused before anything is recorded.
    before = recorded(site)
    status, kind, document = api.problem("POST", "/workflows/import_error/runs")
    assert (status, kind) == (409, "refused")
    assert "dagster_job.py:1: ModuleNotFoundError" in document["detail"]
    status, kind, document = api.problem(
        "POST", "/workflows/orders/runs", json={"config": {"source.typ": "mock"}}
    )
    assert (status, kind) == (409, "invalid-config")
    assert document["errors"][0]["hint"] == "did you mean 'type'?"
    assert api.problem("POST", "/workflows/bad_config/runs")[2]["errors"][0]["line"] == 6
    assert api.problem("POST", "/workflows/orders/runs", json={"partition": "2024-01-01"})[:2] == (
        409,
        "refused",
    )
    assert recorded(site) == before


def test_an_idempotency_key_stands_for_one_run(site: Any, serve: Callable[..., Api]) -> None:
    site.install("good")
    api = serve()
    headers = {"Idempotency-Key": "key-1"}
    first = api("POST", "/workflows/good/runs", headers=headers)
    assert first.status_code == 202
    again = api("POST", "/workflows/good/runs", headers=headers, json={})
    assert (again.status_code, again.json()["run_id"]) == (200, first.json()["run_id"])
    status, kind, document = api.problem(
        "POST", "/workflows/good/runs", headers=headers, json={"config": {"source.mock.rows": 1}}
    )
    assert (status, kind) == (409, "conflict")
    assert document["hint"] == "a new request needs a new key"
    other = api("POST", "/workflows/good/runs", headers={"Idempotency-Key": "key-2"})
    assert other.json()["run_id"] != first.json()["run_id"]
    assert len(recorded(site)) == 2
    # Three clients with one key, at the same moment.
    code = (
        f"import requests\nr = requests.post('{api.url}/workflows/good/runs',"
        " headers={'Idempotency-Key': 'key-3'})\nprint(r.status_code, r.json().get('run_id'))"
    )
    asking = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=120)[0].split() for process in asking]
    assert len(recorded(site)) == 3
    assert len({run_id for status, run_id in answers if status != "409"}) == 1


@pytest.mark.parametrize("place", PLACES)
def test_a_server_killed_during_a_launch(
    site: Any, serve: Callable[..., Api], tmp_path: Path, place: str
) -> None:
    site.install("good")
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(DIE)
    path = f"{site.folder}:{tmp_path / 'start'}"
    api = serve(PYTHONPATH=path, DIE=place)
    headers = {"Idempotency-Key": "the key"}
    with pytest.raises(OSError, match=r"[Cc]onnection|Remote"):
        api("POST", "/workflows/good/runs", headers=headers)
    assert api.process.wait(timeout=60) == -signal.SIGKILL
    between = recorded(site)
    api = serve()
    again = api("POST", "/workflows/good/runs", headers=headers)
    assert again.status_code in (200, 202, 409)
    if again.status_code == 409:  # the first worker is just recording it
        again = eventually(
            lambda: (r := api("POST", "/workflows/good/runs", headers=headers)).ok and r
        )
    run_id = again.json()["run_id"]
    assert set(between) <= {run_id}
    assert api.ended(run_id)["status"] == "success"
    assert recorded(site) == [run_id]
    assert api("POST", "/workflows/good/runs", headers=headers).json()["run_id"] == run_id


def test_runs_outlive_the_server_and_can_be_canceled_by_another(
    site: Any, serve: Callable[..., Api], waits: Path
) -> None:
    site.install("orders")
    api = serve(ORDERS_WAIT=str(waits))
    running = api("POST", "/workflows/orders/runs").json()["run_id"]
    queued = api("POST", "/workflows/orders/runs").json()["run_id"]
    eventually(lambda: [*waits.glob("here-*")])
    assert api.stop() == 0
    assert api.lines()[-1]["message"].startswith("Finished server process")

    api = serve()
    assert api.get(f"/runs/{running}")["status"] == "running"
    assert api("DELETE", f"/runs/{queued}").status_code == 202
    assert api.ended(queued)["status"] == "canceled"
    response = api("DELETE", f"/runs/{running}")
    assert response.status_code == 202
    assert response.json()["status"] in ("canceling", "canceled")
    report = api.ended(running)
    assert report["status"] == "canceled"
    assert report["error"] == {"step": "extract", "message": "the run was canceled", "hint": None}
    assert [step["status"] for step in report["steps"]] == [
        "failure",
        "skipped",
        "skipped",
        "skipped",
    ]
    assert api.problem("DELETE", f"/runs/{running}")[:2] == (409, "conflict")
    assert api.problem("DELETE", "/runs/8c86778e-481c-5fa5-86a8-22948e788a16")[:2] == (
        404,
        "unknown-run",
    )


def test_a_worker_that_is_gone_is_a_run_that_failed(
    site: Any, serve: Callable[..., Api], waits: Path
) -> None:
    site.install("orders")
    api = serve(ORDERS_WAIT=str(waits))
    killed = [api("POST", "/workflows/orders/runs").json()["run_id"] for _ in range(2)]
    for run_id in killed:
        # The second run has no process before the first one is gone.
        os.kill(eventually(lambda run_id=run_id: worker_of(site, run_id)), signal.SIGKILL)
        report = api.ended(run_id)
        assert report["status"] == "failure"
        message = "the process that executed the run is gone"
        assert report["error"] == {"step": None, "message": message, "hint": None}
    assert api.problem("DELETE", f"/runs/{killed[0]}")[:2] == (409, "conflict")


def test_a_run_of_the_command_line_is_seen_and_canceled(
    site: Any, serve: Callable[..., Api], waits: Path
) -> None:
    site.install("orders")
    process = site.start("run", "orders", "--json", ORDERS_WAIT=str(waits))
    eventually(lambda: [*waits.glob("here-*")])
    (run_id,) = recorded(site)
    api = serve()
    assert api.get(f"/runs/{run_id}")["status"] == "running"
    api("DELETE", f"/runs/{run_id}")
    assert api.ended(run_id)["status"] == "canceled"
    process.communicate(timeout=60)
    assert process.returncode == 130


def processes(site: Any) -> list[list[str]]:
    """Return the command lines of the processes that execute runs of this test."""
    found = []
    for file in Path("/proc").glob("[0-9]*"):
        try:
            words = (file / "cmdline").read_text().split("\0")
            environ = (file / "environ").read_text(errors="replace")
        except OSError:
            continue
        if "--run-id" in words and str(site.home) in environ:
            found.append(words)
    return found


def test_runs_that_wait_cost_no_process_and_outlive_the_server(
    site: Any, serve: Callable[..., Api], waits: Path
) -> None:
    site.install("orders")
    api = serve(ORDERS_WAIT=str(waits))
    body = {"config": {"processing.batch_size": 12345}}
    run_ids = [api("POST", "/workflows/orders/runs", json=body).json()["run_id"] for _ in range(3)]
    eventually(lambda: [*waits.glob("here-*")])
    (words,) = eventually(lambda: len(found := processes(site)) == 1 and found)
    assert run_ids[0] in words
    assert "12345" not in " ".join(words)
    assert [api.get(f"/runs/{run_id}")["status"] for run_id in run_ids[1:]] == ["queued"] * 2
    api.stop()
    assert len(processes(site)) == 1

    api = serve(ORDERS_WAIT=str(waits))
    (waits / "go").touch()
    assert [api.ended(run_id)["status"] for run_id in run_ids] == ["success"] * 3
    with sqlite3.connect(site.home / "dagster" / "history" / "runs.db") as connection:
        rows = connection.execute("select run_id from runs order by end_time").fetchall()
    assert [run_id for (run_id,) in rows] == run_ids


def test_secrets_in_a_mapping_are_recorded_nowhere(site: Any, serve: Callable[..., Api]) -> None:
    site.install("orders")
    api = serve(DATAFLOW__ORDERS__API__OVERRIDABLE='["source.api.auth.*"]')
    for value in ({"type": "bearer", "token": SECRET}, f"{{type: bearer, token: {SECRET}}}"):
        response = api(
            "POST", "/workflows/orders/runs", json={"config": {"source.api.auth": value}}
        )
        assert response.status_code == 202, response.text
        assert SECRET not in response.text
        assert api.ended(response.json()["run_id"])["status"] == "success"
    for file in site.home.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in api.log.read_text()


def test_a_killed_run_is_shown_as_failed(site: Any, serve: Callable[..., Api], waits: Path) -> None:
    site.install("orders")
    process = site.start("run", "orders", "--json", ORDERS_WAIT=str(waits))
    eventually(lambda: [*waits.glob("here-*")])
    api = serve()
    assert api.get("/workflows/orders")["last_run"]["status"] == "started"
    process.kill()
    process.wait()
    assert api.get("/workflows/orders")["last_run"]["status"] == "failure"
