"""Makes the pictures of README and documentation from real programs: ``nox -s screenshots``.

A run in the terminal becomes an SVG, Dagster's UI and the dashboards become PNGs. The example
workflow has to be installed; names of pictures as arguments make only those.
"""

from __future__ import annotations

import functools
import http.server
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.text import Text

ASSETS = Path(__file__).parents[2] / "docs" / "assets"
SIZE = {"width": 1280, "height": 800}
RUNTIME = [sys.executable, "-c", "from dataflow_runtime.cli import main; main()"]


def terminal(home: Path) -> None:
    """Run the example in a terminal, and write what it showed."""
    script = (
        "dataflow-runtime() { " + f'{RUNTIME[0]} -c "{RUNTIME[2]}" "$@"' + "; }; "
        'for line in "dataflow-runtime list" "dataflow-runtime run example_workflow"; do '
        'echo "$ $line"; $line; echo; done'
    )
    read_end, write_end = pty.openpty()
    environ = environment(home) | {"COLUMNS": "96", "LINES": "40", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=home,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=write_end,
        stderr=write_end,
    )
    os.close(write_end)
    shown = b""
    while chunk := read(read_end):
        shown += chunk
    assert process.wait() == 0, shown.decode()
    console = Console(record=True, width=98, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    for line in settled(shown.decode().replace(str(home), "~")):
        console.print(Text.from_ansi(line))
    svg = console.export_svg(title="dataflow-runtime")
    # The reader's own font: the pictures ask no other host.
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code", "ui-monospace")
    (ASSETS / "run.svg").write_text(svg, encoding="utf-8")


def read(terminal: int) -> bytes:
    """Return what a terminal shows next, nothing once its program has ended."""
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux reports the end of a pseudo-terminal
        return b""


def settled(shown: str) -> Iterator[str]:
    """Yield the lines that are left when a status line has been drawn over and over."""
    lines: list[str] = []
    for line in shown.replace("\r\n", "\n").split("\n"):
        moves = len(re.findall(r"\x1b\[1?A", line))
        del lines[len(lines) - moves :]
        text = re.sub(r"\x1b\[\?25[lh]|\x1b\[\d*[AKG]", "", line).split("\r")[-1]
        lines.append(text)
    yield from lines[: len(lines) - 1]


def dagster(home: Path) -> None:
    """Show the lineage of the example in Dagster's UI."""
    port = free_port()
    with (
        server(
            [*RUNTIME, "dev", "--port", str(port)], home, f"http://127.0.0.1:{port}/server_info"
        ),
        browser() as page,
    ):
        page.goto(f"http://127.0.0.1:{port}/asset-groups")
        group = page.get_by_text("example_workflow", exact=True).last
        group.wait_for(timeout=120_000)
        group.click()  # unfold it
        page.wait_for_timeout(5000)
        page.screenshot(path=ASSETS / "dagster.png")


def dashboards(home: Path) -> None:
    """Show the home page of the dashboards."""
    build = [*RUNTIME, "dashboards", "build", "--output", str(home / "site")]
    subprocess.run(build, cwd=home, env=environment(home), check=True)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=home / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        with browser() as page:
            for name, path in (("dashboards.png", ""), ("dashboard.png", "example_workflow/")):
                page.goto(f"http://127.0.0.1:{site.server_port}/{path}")
                page.wait_for_timeout(8000)
                page.screenshot(path=ASSETS / name)
        site.shutdown()


@contextmanager
def browser() -> Iterator[Page]:
    """A page of a headless Chromium."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=flags)
        yield chromium.new_page(viewport=SIZE)
        chromium.close()


@contextmanager
def server(command: list[str], home: Path, url: str) -> Iterator[None]:
    """Run a server until the block ends."""
    process = subprocess.Popen(command, cwd=home, env=environment(home), start_new_session=True)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def environment(home: Path) -> dict[str, str]:
    """Return the variables of a program that keeps its state in a folder."""
    return {**os.environ, "DATAFLOW_HOME": str(home / ".dataflow")}


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


PICTURES: dict[str, Callable[[Path], None]] = {
    "terminal": terminal,
    "dagster": dagster,
    "dashboards": dashboards,
}


def main(names: list[str]) -> None:
    """Make the pictures with these names, by default all; the run in the terminal comes first."""
    with tempfile.TemporaryDirectory() as folder:
        for name in dict.fromkeys(["terminal", *(names or PICTURES)]):
            PICTURES[name](Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
