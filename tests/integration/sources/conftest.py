from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import polars as pl
import pytest

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.secrets import forget_secrets, remember_secrets
from dataflow_runtime.config.validation import secret_values
from dataflow_runtime.pipeline.sources import read_source

Configure = Callable[..., WorkflowConfig]


@dataclass
class Request:
    """What a client sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What the server sends; with a `length` the connection is closed after `body` all the same."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


class QuietServer(ThreadingHTTPServer):
    """A server for clients that hang up in the middle of an answer, as those under test do."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Server:
    """A real HTTP server on loopback; `answer` answers each request, `requests` keeps them."""

    def __init__(self) -> None:
        self.answer: Callable[[Request], Any] = lambda _: []
        self.requests: list[Request] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                split = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(
                    self.command, split.path, dict(parse_qsl(split.query)), dict(self.headers), body
                )
                server.requests.append(request)
                answer = server.answer(request)
                answer = answer if isinstance(answer, Answer) else Answer(answer)
                if answer.status == 0:
                    self.close_connection = True
                    return
                content = (
                    answer.body
                    if isinstance(answer.body, bytes)
                    else json.dumps(answer.body).encode()
                )
                self.send_response(answer.status)
                for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header(
                    "Content-Length", str(len(content) if answer.length is None else answer.length)
                )
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)
                self.close_connection = self.close_connection or answer.length is not None

            do_POST = do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Return a config of the given sections; its root is `tmp_path`."""
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path / "home"))

    def make(source: dict[str, Any], **sections: Any) -> WorkflowConfig:
        values = {"source": source, **sections}
        config = WorkflowConfig.model_validate(
            values, context={"workflow": "things", "root": tmp_path}
        )
        remember_secrets(dict(secret_values(config)).values())
        return config

    yield make
    forget_secrets()


@pytest.fixture
def read(configure: Configure) -> Any:
    """Read a source: its kind, its settings."""

    def rows(kind: str, *, batch_size: int = 50_000, **settings: Any) -> pl.DataFrame:
        config = configure({"type": kind, kind: settings}, processing={"batch_size": batch_size})
        return pl.concat(list(read_source(config)), how="diagonal_relaxed")

    return rows
