"""Minutes' worth of mixed load in a bounded test: no error, and no growth of memory."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.api.conftest import Api

pytestmark = pytest.mark.e2e

ROUND = 1_000
"""Requests per round. Ten people who each ask once a second make six rounds in ten minutes."""


def resident(process: int) -> int:
    """Return the memory of a process in KiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


def mixed(run_id: str) -> list[tuple[str, str, dict[str, Any], int]]:
    """Return requests of every kind with the status to expect; `{n}` is a new number each time."""
    yaml = {"Content-Type": "application/yaml"}
    candidate = (
        "source: {type: api, api: {url: https://a.invalid,"
        " auth: {type: bearer, token: secret-{n}}}}\n"
    )
    return [
        ("GET", "/workflows/", {}, 200),
        ("GET", "/workflows/?limit=1&offset={n}", {}, 200),
        ("GET", "/workflows/?owner=owner-{n}", {}, 200),
        ("GET", "/workflows/good", {}, 200),
        ("GET", "/workflows/nobody-{n}", {}, 404),
        ("GET", "/configs/", {}, 200),
        ("GET", "/configs/orders?origins=true", {}, 200),
        ("GET", "/configs/orders?env=no-{n}", {}, 404),
        ("GET", "/configs/bad_config", {}, 409),
        ("POST", "/configs/good/validate", {"data": candidate, "headers": yaml}, 200),
        ("POST", "/configs/good/validate", {"data": "no: [{n}", "headers": yaml}, 200),
        (
            "POST",
            "/configs/good/validate",
            {"data": "x" * 10_000, "headers": {"Content-Type": "text/{n}"}},
            415,
        ),
        ("GET", f"/runs/{run_id}", {}, 200),
        ("GET", "/nowhere/{n}", {}, 404),
    ]


def test_mixed_load_leaves_no_error_and_no_memory(site: Any, serve: Callable[..., Api]) -> None:
    site.install("orders", "good", "bad_config", "import_error", "missing_module")
    api = serve()
    run_id = api("POST", "/workflows/good/runs").json()["run_id"]
    api.ended(run_id)
    kinds, numbers, wrong = mixed(run_id), itertools.count(), []

    def ask(count: int) -> None:
        with requests.Session() as session:
            for number in itertools.islice(numbers, count):
                method, path, more, expected = kinds[number % len(kinds)]
                filled = (
                    {**more, "data": more["data"].replace("{n}", str(number))}
                    if "data" in more
                    else more
                )
                url = f"{api.url}{path.replace('{n}', str(number))}"
                response = session.request(method, url, timeout=120, **filled)
                if response.status_code != expected:
                    wrong.append((method, url, response.status_code, response.text))

    sizes = []
    for _ in range(6):
        threads = [threading.Thread(target=ask, args=(ROUND // 6,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sizes.append(resident(api.process.pid))
    assert wrong == []
    assert not [line for line in api.lines() if line["level"] == "error"]
    # Caches fill in the first rounds; after them nothing grows, but for what an allocator keeps.
    assert sizes[-1] - sizes[1] < 4 * 1024, sizes
    assert len(os.listdir(f"/proc/{api.process.pid}/fd")) < 60  # noqa: PTH208
