"""`dashboards dev`: what is edited shows in a page that is open."""

from __future__ import annotations

import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from playwright.sync_api import Browser, expect

from tests.integration.dashboards.conftest import once, simple

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

PAGE = """\
---
title: Live
---

first words

```sql rows
select * from live.rows
```

<BigValue data={rows} value=n />
"""
PATIENCE = 120_000  # milliseconds; a page waits for the server to compile


class Said:
    """What a process says on stderr, line by line, as it comes."""

    def __init__(self, process: Any) -> None:
        self.lines: list[str] = []
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stderr:
            self.lines.append(line)

    def wait_for(self, text: str, seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not any(text in line for line in list(self.lines)):
            assert time.monotonic() < deadline, self.lines
            assert self._process.poll() is None, self.lines
            time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_edits_show_in_the_open_page(
    world: Any, site: Any, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _, lock = once(tmp_path_factory, "dashboards")
    home = world.home
    database = home / "live.duckdb"
    folder: Path = (
        site.write(
            "live",
            simple(
                "live", {"index.md": PAGE, "sources/rows.sql": "select count(*) as n from live"}
            ),
            {"live": "live.dagster_job"},
        )
        / "evidence"
    )
    with duckdb.connect(database) as connection:
        connection.execute(
            "create schema live_raw; create table live_raw.live as select range as id from range(7)"
        )
    port = free_port()
    with lock:
        process = site.start("dashboards", "dev", "--port", str(port), DATAFLOW_HOME=str(home))
        said = Said(process)
        said.wait_for(f"http://127.0.0.1:{port}/")

        again = site.run("dashboards", "build", DATAFLOW_HOME=str(home))
        assert again.returncode == 1
        assert "another `dashboards` command is at work" in again.stderr

        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/live/", timeout=PATIENCE)
        expect(page.get_by_text("first words")).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_text("7", exact=True)).to_be_visible(timeout=PATIENCE)
        page.wait_for_load_state("networkidle")  # what changes while a page starts up is lost on it

        (folder / "index.md").write_text(PAGE.replace("first words", "other words"))
        expect(page.get_by_text("other words")).to_be_visible(timeout=PATIENCE)
        (folder / "sources" / "rows.sql").write_text("select 100 + count(*) as n from live")
        expect(page.get_by_text("107", exact=True)).to_be_visible(timeout=PATIENCE)
        (folder / "sources" / "rows.sql").write_text("select nothing")
        said.wait_for('Referenced column "nothing"')
        expect(page.get_by_text("This dashboard is broken")).to_be_visible(timeout=PATIENCE)
        page.close()

        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    database.unlink()


def test_a_port_that_is_taken(site: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outcome = site.run("dashboards", "dev", "--port", str(taken.getsockname()[1]))
    assert outcome.returncode == 1
    assert "Address already in use" in outcome.stderr
    assert "hint: choose another --port" in outcome.stderr
