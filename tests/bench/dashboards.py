"""The dashboards' site, against a plain `evidence build` of one page with the same data."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import sync_playwright

from dataflow_runtime.dashboards.node import find_node
from tests.bench.common import PYTHON, RUNTIME, Bench, Ratio, advertise

SOURCE = "select range::varchar as id, range % 7 as day, range % 97 as amount from range(10000)"
PAGE = """\
---
title: {name}
---

```sql daily
select day, count(*) as rows, sum(amount) as amount from {name}.rows group by day order by day
```

<BarChart data={{daily}} x=day y=rows />
<LineChart data={{daily}} x=day y=amount />
<DataTable data={{daily}} />
"""
MODULE = """\
from dataflow_runtime import register_workflow

register_workflow(name="{name}", metadata={{"owner": "team"}})(None)
"""
CONFIG = "source: {type: mock}\nprocessing: {columns: {id: string}}\n"

INSTALL = """\
from dataflow_runtime.dashboards.build import prepared
from dataflow_runtime.dashboards.project import Project
from dataflow_runtime.settings import get_settings
with prepared(Project(get_settings()), print):
    pass
"""

# Prints the seconds that a command takes and the memory of its largest process, in MiB.
MEASURE = """\
import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps([seconds, peak]))
"""


@functools.cache
def home() -> Path:
    """Return a ``DATAFLOW_HOME`` with Evidence installed, so that only the build is measured."""
    folder = Path(tempfile.mkdtemp(prefix="dataflow-bench-"))
    subprocess.run(
        [PYTHON, "-c", INSTALL], env=environment(folder, folder), check=True, capture_output=True
    )
    return folder


def environment(home: Path, packages: Path) -> Mapping[str, str]:
    """Return the environment of a build."""
    return os.environ | {"DATAFLOW_HOME": str(home), "PYTHONPATH": str(packages)}


def measured(
    command: list[str], environment: Mapping[str, str], folder: Path | None = None
) -> tuple[float, float]:
    """Return the seconds of a command, and the memory of its largest process in MiB."""
    printed = subprocess.run(
        [PYTHON, "-c", MEASURE, *command],
        env=environment,
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, peak = json.loads(printed.stdout)
    return seconds, peak


@functools.cache
def plain() -> tuple[float, float]:
    """Measure Evidence itself: its two commands, on a project of one page and the same packages."""
    project = home() / "dashboards" / "plain"
    installed = home() / "dashboards" / "project"
    project.mkdir()
    for name in ("package.json", ".npmrc", "evidence.config.yaml"):  # no svelte.config.js
        shutil.copy(installed / name, project)
    # With a link to the other project's packages, Vite would build that project.
    shutil.copytree(
        installed / "node_modules", project / "node_modules", copy_function=os.link, symlinks=True
    )
    connection = "name: plain\ntype: duckdb\noptions: {filename: ':memory:'}\n"
    for path, text in {
        "pages/index.md": PAGE.format(name="plain"),
        "sources/plain/connection.yaml": connection,
        "sources/plain/rows.sql": SOURCE,
    }.items():
        file = project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    both = "evidence sources --strict && evidence build"
    environ = find_node().environment(everything=True)
    del environ["EVIDENCE_DATA_DIR"], environ["EVIDENCE_DATA_URL_PREFIX"]  # of our layout
    path = os.pathsep.join([str(project / "node_modules" / ".bin"), environ["PATH"]])
    return measured(["sh", "-c", both], environ | {"PATH": path}, project)


def install(folder: Path, home: Path, count: int) -> None:
    """Lay out workflows, each with a dashboard and a warehouse of 10,000 rows."""
    import duckdb

    for number in range(count):
        name = f"bench_{number:02}"
        files = {
            f"{name}/__init__.py": "",
            f"{name}/dagster_job.py": MODULE.format(name=name),
            f"{name}/config.yaml": CONFIG,
            f"{name}/evidence/index.md": PAGE.format(name=name),
            f"{name}/evidence/sources/rows.sql": f"from {name}",
        }
        for path, text in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        advertise(folder, name)
        warehouse = home / f"{name}.duckdb"
        if not warehouse.exists():
            with duckdb.connect(warehouse) as connection:
                connection.execute(
                    f"create schema {name}_raw; create table {name}_raw.{name} as {SOURCE}"
                )


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


def first_view(site: Path, page: str) -> tuple[int, float]:
    """Return how many requests the first view of a page needs, and their MB, not compressed."""
    weights: list[int] = []
    handler = functools.partial(_Handler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page()
        tab.on(
            "response",
            lambda response: weights.append(int(response.headers.get("content-length", 0))),
        )
        tab.goto(f"http://127.0.0.1:{server.server_port}/{page}/", wait_until="networkidle")
        browser.close()
        server.shutdown()
    return len(weights), sum(weights) / 1e6


def build(folder: Path, count: int) -> Ratio:
    peer_seconds, peer_memory = plain()
    install(folder, home(), count)
    seconds, memory = measured([RUNTIME, "dashboards", "build"], environment(home(), folder))
    requests, weight = first_view(home() / "dashboards" / "site", "bench_00")
    note = (
        f"memory {memory / 1024:.1f} GiB, Evidence alone {peer_memory / 1024:.1f} GiB"
        f" ({memory / peer_memory:.2f}); first view: {requests} requests, {weight:.1f} MB"
    )
    return Ratio(seconds, peer_seconds, seconds / peer_seconds, note=note)


def dashboards_1(folder: Path) -> Ratio:
    """Site of 1 workflow / `evidence build` of one page"""
    return build(folder, 1)


def dashboards_10(folder: Path) -> Ratio:
    """Site of 10 workflows / `evidence build` of one page"""
    return build(folder, 10)


def dashboards_50(folder: Path) -> Ratio:
    """Site of 50 workflows / `evidence build` of one page"""
    return build(folder, 50)


BENCHES: list[Bench] = [(dashboards_1, 2.5), (dashboards_10, 3.0), (dashboards_50, 6.0)]
