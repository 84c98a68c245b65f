"""Clients that mean harm, and workflows that do: nobody else notices."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.api.conftest import TOKEN, Api, eventually

SECRET = "planted-secret-of-the-environment"
YAML = {"Content-Type": "application/yaml"}

SLOW = """
import os, time
from pathlib import Path
Path(os.environ["LOADING"], str(os.getpid())).touch()
while not Path(os.environ["LOADING"], "go").exists():
    time.sleep(0.05)
"""
JOB = """
from dagster import job, op
from dataflow_runtime import register_workflow

@op
def an_op() -> None: ...

@register_workflow(name="{name}", metadata={{}})
@job
def a_job() -> None:
    an_op()
"""


def launching_with(site: Any, folder: Path, *statements: str) -> str:
    """Return a PYTHONPATH with which a server runs statements on the module `launch` first."""
    (folder / "start").mkdir()
    lines = ["import sys", "if 'serve' in sys.argv:"]
    lines += ["    import dataflow_runtime.orchestration.launch as launch"]
    lines += [f"    {statement}" for statement in statements]
    (folder / "start" / "sitecustomize.py").write_text("\n".join(lines))
    return f"{site.folder}:{folder / 'start'}"


def write(site: Any, name: str, before: str = "") -> None:
    files = {
        f"{name}/__init__.py": "",
        f"{name}/config.yaml": "source: {type: mock}\n",
        f"{name}/dagster_job.py": before + JOB.format(name=name),
    }
    site.write(name, files, {name: f"{name}.dagster_job"})


@pytest.fixture(scope="module")
def victim(shared_site: Any, tmp_path_factory: pytest.TempPathFactory) -> Api:
    """A server with a secret in its environment, for requests that change nothing."""
    shared_site.install("good", "orders")
    return Api(shared_site, tmp_path_factory.mktemp("victim"), PLANTED=SECRET)


@pytest.mark.parametrize(
    "candidate",
    [
        "schedule: {timezone: '${PLANTED}'}",
        "schedule: {cron: '${PLANTED}'}",
        "source: {type: '${PLANTED}'}",
        "processing: {cursor: {column: '${PLANTED:?${PLANTED}}'}}",
        "processing: {batch_size: '${PLANTED}'}",
        "'${PLANTED}': 1",
    ],
)
def test_a_candidate_does_not_read_the_environment(victim: Api, candidate: str) -> None:
    api = victim
    more = {"source": {"type": "mock"}}
    for text in (candidate, f"{candidate}\nsource: {json.dumps(more['source'])}\n"):
        response = api("POST", "/configs/good/validate", data=text, headers=YAML)
        assert response.status_code == 200
        assert SECRET not in response.text
    assert SECRET not in api.log.read_text()


@pytest.mark.parametrize(
    "config",
    [
        {"source.api.url": "http://attacker.invalid/"},
        {"source": {"api": {"url": "http://attacker.invalid/"}}},
        {"source.api": "{url: http://attacker.invalid/}"},
        {"source.api.headers": {"X-More": "1"}},
        {"source.api.auth.token": "x"},
        {"output.postgres.url": "postgresql://attacker.invalid/x"},
        {"api.overridable": ["*"], "source.api.url": "http://attacker.invalid/"},
    ],
)
def test_an_override_that_is_not_allowed_is_refused_by_name(
    victim: Api, config: dict[str, Any]
) -> None:
    status, kind, document = victim.problem(
        "POST", "/workflows/orders/runs", json={"config": config}
    )
    assert (status, kind) == (409, "not-overridable")
    assert next(iter(config)).split(".")[0] in document["detail"]
    assert "attacker" not in json.dumps(document)
    assert "api.overridable" in document["hint"]


def test_requests_that_once_ended_in_500(victim: Api) -> None:
    api = victim
    number = "9" * 5_000
    json_type = {"Content-Type": "application/json"}
    for method, path, more, status in (
        ("GET", f"/configs/good?env={'e' * 5_000}", {}, 422),
        ("POST", f"/configs/good/validate?env={'e' * 5_000}", {}, 422),
        ("POST", "/workflows/good/runs", {"json": {"env": "e" * 5_000}}, 422),
        ("GET", f"/workflows/?limit={number}", {}, 422),
        ("POST", "/configs/good/validate", {"data": number, "headers": json_type}, 422),
        ("POST", "/workflows/good/runs", {"data": number, "headers": json_type}, 422),
    ):
        assert api.problem(method, path, **more)[0] == status
    data = f"processing: {{batch_size: {number}}}\n"
    response = api("POST", "/configs/good/validate", data=data, headers=YAML)
    assert response.status_code == 200
    assert response.json()["valid"] is False
    assert not [line for line in api.lines() if line["level"] == "error"]


def test_the_problems_of_a_candidate_are_capped(victim: Api) -> None:
    api = victim
    data = "processing:\n" + "".join(f" a{n}: 1\n" for n in range(2_000))
    response = api("POST", "/configs/good/validate", data=data, headers=YAML)
    errors = response.json()["errors"]
    assert len(errors) == 101
    assert errors[-1]["message"].startswith("and ")
    assert errors[-1]["message"].endswith(" more")
    assert response.elapsed.total_seconds() < 10


def test_head_answers_as_get_without_a_body(victim: Api) -> None:
    api = victim
    for path in ("/health", "/workflows/", "/workflows/good", "/configs/", "/nowhere"):
        get, head = api("GET", path), api("HEAD", path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f" {TOKEN}", "tökén", "a\tb"])
def test_a_token_that_no_client_can_send_is_refused_at_start(site: Any, token: str) -> None:
    outcome = site.run("serve", "--port", "0", DATAFLOW_API_TOKEN=token)
    assert outcome.returncode == 2
    assert "error: DATAFLOW_API_TOKEN holds a token that no client can send" in outcome.stderr
    assert token.strip() not in outcome.stderr


def test_a_refused_client_is_told_what_to_send(site: Any, serve: Callable[..., Api]) -> None:
    api = serve(DATAFLOW_API_TOKEN=TOKEN)
    _, kind, document = api.problem("GET", "/workflows/", headers={"Authorization": "Bearer no"})
    assert kind == "unauthorized"
    assert document["hint"] == (
        "send the header Authorization: Bearer <token>, with the DATAFLOW_API_TOKEN"
    )


def test_idle_and_slow_connections_are_closed(site: Any, serve: Callable[..., Api]) -> None:
    site.install("good")
    api = serve()
    port = int(api.url.rpartition(":")[2])
    started = [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-"]
    sockets = []
    for number in range(300):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(started[number % 3])
        sockets.append(connection)
    body = socket.create_connection(("127.0.0.1", port))
    request = (
        "POST /configs/good/validate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1"
    )
    body.sendall(request.encode())
    assert api.get("/health")
    deadline = time.monotonic() + 40
    for connection in sockets:
        connection.settimeout(deadline - time.monotonic())
        assert connection.recv(1_000) == b""
        connection.close()
    body.settimeout(60)
    answer = b"".join(iter(lambda: body.recv(10_000), b"")).decode()
    assert answer.startswith("HTTP/1.1 408 ")
    assert "urn:dataflow:problem:timeout" in answer
    body.close()


@pytest.mark.e2e
def test_launches_wait_in_a_bounded_queue_and_reads_do_not(
    site: Any, serve: Callable[..., Api], tmp_path: Path
) -> None:
    """Workflows that take long to load: four at a time, first in first out; the rest waits."""
    loading = tmp_path / "loading"
    loading.mkdir()
    names = [f"slow_{number:02}" for number in range(6)]
    for name in names:
        write(site, name, SLOW)
    api = serve(LOADING=str(loading))
    run_ids: dict[str, str] = {}

    def post(name: str) -> None:
        response = requests.post(f"{api.url}/workflows/{name}/runs", timeout=120)
        run_ids[name] = response.json().get("run_id", response.text)

    # Dagster is imported by the first.
    asking = [threading.Thread(target=post, args=(name,)) for name in names]
    for thread in asking:
        thread.start()
        time.sleep(0.3)
    eventually(lambda: len([*loading.iterdir()]) >= 4)
    time.sleep(2)
    assert len([*loading.iterdir()]) == 4
    began = time.monotonic()
    for path in ("/health", "/workflows/", "/workflows/slow_05", "/configs/slow_00"):
        assert api.get(path)
    assert time.monotonic() - began < 10
    (loading / "go").touch()
    for thread in asking:
        thread.join()
    for name in names:
        assert api.ended(run_ids[name])["status"] == "success"


@pytest.mark.e2e
def test_a_workflow_that_never_loads_is_given_up(
    site: Any, serve: Callable[..., Api], tmp_path: Path
) -> None:
    path = launching_with(site, tmp_path, "launch.LOAD_SECONDS = 5.0")
    forks = "import os, time\nif os.fork() == 0:\n    time.sleep(300)\ntime.sleep(300)\n"
    write(site, "hangs", forks)
    api = serve(PYTHONPATH=path)
    status, kind, document = api.problem("POST", "/workflows/hangs/runs")
    assert (status, kind) == (409, "refused")
    assert document["detail"] == "workflow 'hangs' did not load in 5 seconds"
    assert document["hint"] == "`dataflow-runtime check hangs` says more"


@pytest.mark.e2e
def test_a_stopping_server_answers_what_is_under_way(
    site: Any, serve: Callable[..., Api], tmp_path: Path
) -> None:
    loading = tmp_path / "loading"
    loading.mkdir()
    write(site, "slow", SLOW)
    api = serve(LOADING=str(loading))
    answers: list[requests.Response] = []

    def post() -> None:
        answers.append(requests.post(f"{api.url}/workflows/slow/runs", timeout=60))

    asking = threading.Thread(target=post)
    asking.start()
    eventually(lambda: [*loading.iterdir()])
    began = time.monotonic()
    assert api.stop(signal.SIGTERM) == 0
    assert 8 < time.monotonic() - began < 20
    asking.join()
    (answer,) = answers
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:dataflow:problem:busy"
    (loading / "go").touch()


@pytest.mark.e2e
def test_runs_beyond_the_places_wait_and_those_beyond_the_queue_are_refused(
    site: Any, serve: Callable[..., Api], tmp_path: Path
) -> None:
    path = launching_with(
        site,
        tmp_path,
        "assert (launch.MOST_RUNNING, launch.MOST_WAITING) == (8, 100)",
        "launch.MOST_RUNNING, launch.MOST_WAITING = 1, 2",
    )
    waits = tmp_path / "waits"
    waits.mkdir()
    site.install("orders")
    for name in ("quick_a", "quick_b", "quick_c"):
        write(site, name, "")
    api = serve(PYTHONPATH=path, ORDERS_WAIT=str(waits))
    first = api("POST", "/workflows/orders/runs").json()["run_id"]
    eventually(lambda: [*waits.iterdir()])
    queued = [
        api("POST", f"/workflows/{name}/runs").json()["run_id"] for name in ("quick_a", "quick_b")
    ]
    # Another workflow, and still no place for it.
    assert {api.get(f"/runs/{run_id}")["status"] for run_id in queued} == {"queued"}
    response = api("POST", "/workflows/quick_c/runs")
    assert response.status_code == 503
    assert response.json()["type"] == "urn:dataflow:problem:busy"
    assert response.json()["detail"] == "2 runs are waiting"
    assert response.headers["retry-after"] == "10"
    (waits / "go").touch()
    assert {api.ended(run_id)["status"] for run_id in (first, *queued)} == {"success"}
    assert api("POST", "/workflows/quick_c/runs").status_code == 202
