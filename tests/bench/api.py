"""The REST API under load, against bare FastAPI routes that return the same bytes."""

from __future__ import annotations

import http.client
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.common import PYTHON, RUNTIME, Bench, Ratio
from tests.bench.listing import install

CLIENTS = 8
REQUESTS = 160
ROUNDS = 41  # short ones, in turn: a busy machine is so for both

# What a FastAPI user would write, on uvicorn as `serve` uses it; without a log, which ours writes.
BARE = """
import os, socket
import uvicorn
from fastapi import FastAPI, Response

app = FastAPI()
body = open(os.environ["BODY"], "rb").read()

@app.get("/health")
@app.get("/workflows/")
@app.get("/configs/{name}")
async def bare(name: str = ""):
    return Response(body, media_type="application/json")

listener = socket.create_server(("127.0.0.1", 0))
print(f"http://127.0.0.1:{listener.getsockname()[1]}  ", flush=True)
uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="error")).run(sockets=[listener])
"""


class Load(NamedTuple):
    """What clients saw: seconds per request, and the 99th percentile of their waiting times."""

    seconds: float
    p99: float


def list_under_load(folder: Path) -> Ratio:
    """GET /workflows/, 200 workflows, 8 clients, a request : the same bytes from a bare FastAPI"""
    return compared_under_load(folder, "/workflows/", CLIENTS)


def list_one_client(folder: Path) -> Ratio:
    """GET /workflows/, 200 workflows, 1 client, a request : the same bytes from a bare FastAPI"""
    return compared_under_load(folder, "/workflows/", 1)


def config_under_load(folder: Path) -> Ratio:
    """GET /configs/{name}, 8 clients, a request : the same bytes from a bare FastAPI route"""
    return compared_under_load(folder, "/configs/bench_workflow_007", CLIENTS)


def config_one_client(folder: Path) -> Ratio:
    """GET /configs/{name}, 1 client, a request : the same bytes from a bare FastAPI route"""
    return compared_under_load(folder, "/configs/bench_workflow_007", 1)


def compared_under_load(folder: Path, path: str, clients: int) -> Ratio:
    """Measure our server and a bare one in turn."""
    environment = {**install(folder, 200), "DATAFLOW_HOME": str(folder / "home")}
    with server([RUNTIME, "serve", "--port", "0"], environment, folder / "ours.log") as ours:
        body = folder / "body.json"
        body.write_bytes(get(http.client.HTTPConnection("127.0.0.1", ours), path))
        with server(
            [PYTHON, "-c", BARE], {**environment, "BODY": str(body)}, folder / "bare.log"
        ) as bare:
            under_load(ours, path, clients)
            under_load(bare, path, clients)
            rounds = [
                (under_load(ours, path, clients), under_load(bare, path, clients))
                for _ in range(ROUNDS)
            ]
    mine, peer = (sorted(column)[ROUNDS // 2] for column in zip(*rounds, strict=True))
    rates = f"{1 / mine.seconds:,.0f} : {1 / peer.seconds:,.0f} requests/s"
    note = f"{rates}, p99 {mine.p99 * 1000:.1f} : {peer.p99 * 1000:.1f} ms"
    return Ratio.of(((ours.seconds, bare.seconds) for ours, bare in rounds), note=note)


@contextmanager
def server(command: list[str], environment: dict[str, str], log: Path) -> Iterator[int]:
    """Start a server and yield its port once it says where it is."""
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=stream, cwd=log.parent
        )
    try:
        while (
            "http://127.0.0.1:" not in (text := log.read_text())
            or "  " not in text.partition("http://")[2]
        ):
            if process.poll() is not None:
                raise RuntimeError(text)
            time.sleep(0.05)
        port = int(text.partition("http://127.0.0.1:")[2].split()[0])
        yield port
    finally:
        process.kill()
        process.wait()


def under_load(port: int, path: str, clients: int) -> Load:
    """Let clients ask one after the other, each on its own connection."""
    waited: list[float] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for _ in range(REQUESTS // clients):
            start = time.perf_counter()
            get(connection, path)
            waited.append(time.perf_counter() - start)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = time.perf_counter() - start
    return Load(total / len(waited), sorted(waited)[len(waited) * 99 // 100])


def get(connection: http.client.HTTPConnection, path: str) -> bytes:
    """Return a body."""
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status} {body[:200]!r}")
    return body


BENCHES: list[Bench] = [
    (list_under_load, 2.0),
    (list_one_client, 2.0),
    (config_under_load, 2.0),
    (config_one_client, 2.0),
]
