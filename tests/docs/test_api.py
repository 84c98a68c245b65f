"""Runs each curl line of docs/reference/rest-api.md; every kind of problem is documented."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime.api.errors import KINDS
from tests.integration.api.conftest import Api

DOC = (Path(__file__).parents[2] / "docs" / "reference" / "rest-api.md").read_text(encoding="utf-8")


@pytest.mark.e2e
def test_the_curl_lines_do_what_they_say(site: Any, tmp_path: Path) -> None:
    site.install("orders")
    api = Api(site, tmp_path)
    block = DOC.partition("test_api.py runs these lines -->\n\n```bash\n")[2].partition("```")[0]
    lines = [line for line in block.replace("\\\n", " ").splitlines() if line]
    assert len(lines) == 13
    run_id = api("POST", "/workflows/orders/runs").json()["run_id"]
    api.ended(run_id)
    statuses = {}
    for line in lines:
        outcome = subprocess.run(
            ["bash", "-c", f"{line} -sS -w '\\n%{{http_code}}'"],
            env={"PATH": "/usr/bin:/bin", "API": api.url, "RUN": run_id},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        body, _, status = outcome.stdout.rpartition("\n")
        json.loads(body)
        statuses[line] = status
    # The run is over: all that it can be is not canceled any more.
    assert {line: status for line, status in statuses.items() if not status.startswith("2")} == {
        lines[-1]: "409"
    }


def test_every_kind_of_problem_is_documented() -> None:
    for kind, (status, _) in KINDS.items():
        row = next(
            line for line in DOC.splitlines() if line.startswith("| `") and f"`{kind}`" in line
        )
        assert f"| {status} |" in row
