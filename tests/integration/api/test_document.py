"""Schemathesis sends a real server what its OpenAPI document allows, and what it forbids."""

from __future__ import annotations

import collections
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.conftest import TOKEN, Api

pytestmark = pytest.mark.e2e


def test_the_server_keeps_what_its_document_promises(
    site: Any, serve: Callable[..., Api], tmp_path: Path
) -> None:
    site.install("good", "bad_config", "missing_module")
    api = serve(DATAFLOW_API_TOKEN=TOKEN)
    options = {
        "--checks": "all",
        # The only DELETE cancels a run, which can still be looked at.
        "--exclude-checks": "use_after_free",
        "--phases": "examples,coverage,fuzzing,stateful",
        "--header": f"Authorization: Bearer {TOKEN}",
        "--max-examples": "10",
        "--seed": "1",
        # A run is answered for when its workflow is loaded; this machine may have much else to do.
        "--request-timeout": "120",
        "--max-response-time": "120",
    }
    command: list[Any] = [Path(sysconfig.get_path("scripts")) / "schemathesis", "run"]
    command += [f"{api.url}/openapi.json", "--no-color", "--generation-deterministic"]
    command += [word for option in options.items() for word in option]
    outcome = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    asked = collections.Counter(
        (line["method"], line["path"].split("/")[1], line["status"])
        for line in api.lines()
        if "method" in line
    )
    # It came to what it was to try: every route with success and refused, a run among them.
    for wanted in (
        ("GET", "workflows", 200),
        ("GET", "configs", 200),
        ("POST", "configs", 200),
        ("POST", "workflows", 202),
        ("POST", "workflows", 422),
        ("DELETE", "runs", 404),
        ("GET", "workflows", 401),
    ):
        assert asked[wanted], (wanted, asked)
    assert not [line for line in api.lines() if line["level"] == "error"]
