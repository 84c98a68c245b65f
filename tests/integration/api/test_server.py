"""The server: who may ask, what it listens on, what it logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests

from tests.integration.api.conftest import TOKEN, Api


def test_without_a_token_only_this_machine_is_served(site: Any) -> None:
    made = f"made {site.home}: state is kept there (DATAFLOW_HOME)\n"
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        outcome = site.run("serve", "--host", host, "--port", "0")
        assert outcome.returncode == 2
        assert outcome.stderr == (
            f"{made}error: --host {host}: without a token the API is served to this machine only\n"
            "hint: set DATAFLOW_API_TOKEN, or bind to 127.0.0.1\n"
        )
        made = ""  # only the first command makes the folder


def test_a_token_is_needed_for_all_but_health(site: Any, serve: Callable[..., Api]) -> None:
    site.install("good")
    api = serve("--host", "0.0.0.0", DATAFLOW_API_TOKEN=TOKEN)
    url = api.url.replace("0.0.0.0", "127.0.0.1")
    assert requests.get(f"{url}/health", timeout=30).json()["status"] == "ok"
    for path in ("/workflows/", "/configs/good", "/openapi.json", "/nowhere", "/runs/x"):
        for header in (
            None,
            "",
            "Bearer",
            f"Bearer {TOKEN}x",
            f"Basic {TOKEN}",
            TOKEN,
            "Bearer \xe9",
        ):
            headers = {} if header is None else {"Authorization": header.encode("latin-1")}
            response = requests.get(f"{url}{path}", headers=headers, timeout=30)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
    # Any name may lead here.
    headers = {"Authorization": f"bearer {TOKEN}", "Host": "flows.example.org"}
    assert (
        requests.get(f"{url}/workflows/", headers=headers, timeout=30).json()[0]["name"] == "good"
    )
    assert TOKEN not in api.log.read_text()


def test_pages_of_other_sites_cannot_use_the_server(site: Any, serve: Callable[..., Api]) -> None:
    site.install("good")
    api = serve()
    port = api.url.rpartition(":")[2]
    for host in (f"evil.example:{port}", "evil.example", "127.0.0.1.evil.example", "[::2]:80"):
        assert api.problem("GET", "/workflows/", headers={"Host": host})[:2] == (
            400,
            "untrusted-host",
        )
    for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}", f"LOCALHOST:{port}"):
        assert api.get("/workflows/", headers={"Host": host})
    for origin in ("https://evil.example", "null", "http://127.0.0.1"):
        found = api.problem("POST", "/configs/good/validate", headers={"Origin": origin})
        assert found[:2] == (403, "cross-origin")
    assert api("POST", "/configs/good/validate", headers={"Origin": api.url}).status_code == 200
    response = api("GET", "/workflows/", headers={"Origin": "https://evil.example"})
    assert not [name for name in response.headers if name.lower().startswith("access-control")]


def test_headers_and_log_of_every_answer(site: Any, serve: Callable[..., Api]) -> None:
    site.install("good")
    api = serve()
    statuses = {}
    for number, path in enumerate(
        ("/health", "/workflows/", "/nowhere", "/configs/good", "/configs/good")
    ):
        response = api("GET", path, headers={"X-Request-ID": f"my-request.{number}"})
        expected = {
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
            "referrer-policy": "no-referrer",
            "x-request-id": f"my-request.{number}",
        }
        assert {name: response.headers[name] for name in expected} == expected
        assert response.headers["cache-control"] == "no-store"
        assert "server" not in response.headers
        statuses[f"my-request.{number}"] = (path, response.status_code)
    assert (
        len(api("GET", "/health", headers={"X-Request-ID": "not one {}"}).headers["x-request-id"])
        == 32
    )
    assert api.stop() == 0
    lines = {line["request_id"]: line for line in api.lines() if line.get("request_id") in statuses}
    assert {key: (line["path"], line["status"]) for key, line in lines.items()} == statuses
    first = lines["my-request.0"]
    assert first.keys() == {
        "time", "level", "message", "request_id", "method", "path", "status", "milliseconds",
        "client",
    }  # fmt: skip
    assert (first["method"], first["client"], first["level"]) == ("GET", "127.0.0.1", "info")


def test_listings_do_not_import_dagster(site: Any) -> None:
    site.install("good")
    # In the same process, over the app's own interface.
    site.python(
        "import asyncio, sys\n"
        "from dataflow_runtime.api import create_app\n"
        "async def get(app, path):\n"
        "    scope = {'type': 'http', 'method': 'GET', 'path': path, 'raw_path': path.encode(),\n"
        "             'query_string': b'', 'headers': [(b'host', b'localhost')],\n"
        "             'client': None, 'server': None, 'scheme': 'http'}\n"
        "    sent = []\n"
        "    async def receive(): return {'type': 'http.request', 'body': b''}\n"
        "    async def send(message): sent.append(message)\n"
        "    await app(scope, receive, send)\n"
        "    assert sent[0]['status'] == 200, sent\n"
        "for path in ('/workflows/', '/workflows/good', '/configs/', '/configs/good',\n"
        "             '/openapi.json', '/health'):\n"
        "    asyncio.run(get(create_app(), path))\n"
        "heavy = {'dagster', 'polars', 'dbt', 'dlt'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )


def test_a_port_that_is_taken_is_named(site: Any, serve: Callable[..., Api]) -> None:
    port = serve().url.rpartition(":")[2]
    outcome = site.run("serve", "--port", port)
    assert outcome.returncode == 1
    assert f"error: 127.0.0.1:{port}: Address already in use" in outcome.stderr
