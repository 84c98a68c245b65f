"""A run whose API fails names the page and loads nothing; the next run completes."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from tests.integration.sources.conftest import Answer, Request, Server

pytestmark = pytest.mark.e2e

ROWS = [
    {"id": f"o{n:03}", "ordered_at": "2024-01-01T00:00:00Z", "status": "Paid", "amount": 1.5}
    for n in range(40)
]


@pytest.mark.parametrize("failure", ["dies", "repeats"])
def test_page_7_fails_and_the_next_run_completes(
    site: Any, run: Any, server: Server, failure: str
) -> None:
    site.install("orders")
    broken = True

    def answer(request: Request) -> Any:
        number = int(request.query["page"])
        if broken and number == 7 and failure == "dies":
            return Answer({"error": "out of memory"}, status=500)
        start = (6 if broken and number == 7 else number) * 4
        return ROWS[start : start + 4]

    server.answer = answer
    overrides = {
        "source.type": "api",
        "source.api.url": f"{server.url}/orders",
        "source.api.max_retries": 0,
        "source.api.pagination": {"type": "page_number", "base_page": 0},
    }
    report = run("orders", overrides=overrides)
    assert report.status == "failure"
    assert f"{server.url}/orders?page=7: " in str(report.error)
    assert not (site.home / "orders.duckdb").exists()
    broken = False
    assert run("orders", overrides=overrides).rows == {"extracted": 40, "rejected": 0, "loaded": 40}
    with duckdb.connect(site.home / "orders.duckdb", read_only=True) as connection:
        found = connection.execute(
            "select count(*), count(distinct id) from orders_raw.orders"
        ).fetchall()
    assert found == [(40, 40)]
