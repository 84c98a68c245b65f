"""A real server on loopback, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

TOKEN = "planted-token-of-the-api"


class Api:
    """A server of a site's workflows, and a client of it.

    Attributes:
        url: Where it is.
        process: Its process.
        log: What it writes to stderr.
    """

    def __init__(self, site: Any, folder: Path, *arguments: str, **environ: str) -> None:
        self.log = folder / f"server-{len(site.started)}.log"
        self.session = requests.Session()
        with self.log.open("w") as stderr:
            self.process = subprocess.Popen(
                [
                    Path(sysconfig.get_path("scripts")) / "dataflow-runtime",
                    "serve",
                    "--port",
                    "0",
                    *arguments,
                ],
                env=site.environ | environ,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        site.started.append(self.process)
        self.url = eventually(self._address)
        eventually(lambda: self._answers())
        if token := environ.get("DATAFLOW_API_TOKEN"):
            self.session.headers["Authorization"] = f"Bearer {token}"

    def _address(self) -> str | None:
        assert self.process.poll() is None, self.log.read_text()
        found = re.search(r"REST API: (http://\S+)", self.log.read_text())
        return found[1] if found else None

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=30).ok
        except requests.ConnectionError:
            return False

    def __call__(self, method: str, path: str, **more: Any) -> requests.Response:
        """Send a request."""
        return self.session.request(method, f"{self.url}{path}", timeout=120, **more)

    def get(self, path: str, **more: Any) -> Any:
        """Return the JSON of a GET that must succeed."""
        response = self("GET", path, **more)
        assert response.status_code == 200, response.text
        return response.json()

    def problem(self, method: str, path: str, **more: Any) -> tuple[int, str, dict[str, Any]]:
        """Return status, kind and document of a request that must fail with a problem document."""
        response = self(method, path, **more)
        document = response.json()
        assert response.headers["content-type"] == "application/problem+json"
        assert document["status"] == response.status_code
        assert document["title"]
        assert document["detail"]
        return (
            response.status_code,
            document["type"].removeprefix("urn:dataflow:problem:"),
            document,
        )

    def ended(self, run_id: str) -> Any:
        """Wait for the end of a run; return its report."""

        def finished() -> Any:
            report = self.get(f"/runs/{run_id}")
            return report if report["status"] in ("success", "failure", "canceled") else None

        return eventually(finished)

    def lines(self) -> list[dict[str, Any]]:
        """Return what the server has logged."""
        return [
            json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")
        ]

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Stop the server; return its exit code."""
        os.kill(self.process.pid, with_signal)
        return self.process.wait(timeout=60)


def eventually(what: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what a function returns as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(0.05)
    return found


@pytest.fixture
def serve(site: Any, tmp_path: Path) -> Callable[..., Api]:
    """Start a server of the site, with arguments of `serve` and variables."""
    return lambda *arguments, **environ: Api(site, tmp_path, *arguments, **environ)


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory, site_type: Any) -> Iterator[Any]:
    """A site for tests that only read."""
    folder = tmp_path_factory.mktemp("api")
    site = site_type(folder / "site", folder / "home")
    yield site
    for process in site.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
