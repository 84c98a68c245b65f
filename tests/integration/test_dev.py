"""``dev`` in a browser: workflows, lineage, schedule, a run from click to success, a clean stop."""

from __future__ import annotations

import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.e2e

SECOND = 1000


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with closing(browser.new_page(viewport={"width": 1400, "height": 900})) as page:
        page.set_default_timeout(120 * SECOND)
        yield page


@pytest.fixture
def dev(site: Any) -> Iterator[tuple[Any, str]]:
    """The started command, and the address of its UI."""
    site.install("shipments", "orders", "import_error")
    evidence = site.folder / "shipments" / "evidence" / "sources"
    evidence.mkdir(parents=True)
    (evidence / "weights.sql").write_text("select weight from shipments_marts.stg_shipments")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    process = site.start("dev", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 180
    while True:
        try:
            urllib.request.urlopen(f"{url}/server_info", timeout=60).close()
            break
        except OSError:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the UI did not start"
            time.sleep(0.25)
    return process, url


def members(group: int) -> list[str]:
    """Return the command lines of the processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append(stat.with_name("cmdline").read_text().replace("\0", " "))
        except OSError:  # it has ended meanwhile
            continue
    return found


def test_the_ui(dev: tuple[Any, str], page: Page, tmp_path: Path) -> None:
    process, url = dev
    location = f"{url}/locations/shipments@dataflow_runtime.dagster_repo"

    page.goto(f"{url}/jobs")
    for job in ("orders_job", "shipments_job"):
        expect(page.get_by_text(job, exact=True)).to_be_visible(timeout=120 * SECOND)
    page.screenshot(path=tmp_path / "jobs.png")

    page.goto(f"{url}/automation")
    expect(page.get_by_text("shipments_schedule")).to_be_visible(timeout=60 * SECOND)

    page.goto(f"{location}/asset-groups/shipments/lineage")
    for asset in ("shipments_rejected", "stg_shipments", "dashboard"):
        expect(page.get_by_text(asset, exact=True).first).to_be_visible(timeout=60 * SECOND)
    expect(page.get_by_text("Evidence").first).to_be_visible()
    page.screenshot(path=tmp_path / "lineage.png")

    page.goto(f"{location}/jobs/shipments_job")
    expect(page.get_by_text("Shipments, as assets")).to_be_visible(timeout=60 * SECOND)
    page.screenshot(path=tmp_path / "job.png")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("link", name="View", exact=True).click()
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=180 * SECOND)
    page.screenshot(path=tmp_path / "run.png")

    page.goto(f"{url}/assets/shipments/raw/shipments")
    expect(page.get_by_text("rows_loaded").first).to_be_visible(timeout=60 * SECOND)
    page.screenshot(path=tmp_path / "asset.png")

    (child,) = children(process.pid)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    deadline = time.monotonic() + 10  # one that is ending is still listed for a moment
    while members(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert members(child) == []
    assert f"Dagster UI: {url}" in stderr
    assert "workflow 'import_error' (import_error 1.0) is broken" in stderr
    assert "superseded" not in stderr
    assert f"Schedules that are off: 1 (shipments); switch them on at {url}/automation" in stderr


def test_a_taken_port_fails_at_once(site: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        outcome = site.run("dev", "--port", port, timeout=60)
    assert outcome.returncode == 1
    assert outcome.stderr == (
        f"error: 127.0.0.1:{port}: Address already in use\nhint: choose another --port\n"
    )
    assert not site.home.exists()


def test_an_unknown_workflow_in_the_environment_fails_at_once(site: Any) -> None:
    site.install("good")
    outcome = site.run("dev", "--port", "3979", DATAFLOW_WORKFLOWS="good,goood")
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("error: unknown workflow 'goood'\nhint: did you mean 'good'?")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_however_it_ends_it_leaves_no_process_behind(
    dev: tuple[Any, str], sent: signal.Signals, code: int
) -> None:
    process, _ = dev
    (child,) = children(process.pid)
    assert len(members(child)) > 2, "the code server, the web server and the daemon"
    process.send_signal(sent)
    deadline = time.monotonic() + 20
    while members(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert members(child) == []
    assert process.wait(timeout=5) == code


def children(parent: int) -> list[int]:
    """Return the ids of the processes that a process has started."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
