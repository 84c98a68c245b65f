"""Serves the site while files in ``evidence/`` are edited: changes show in the open page."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from watchfiles import watch

from dataflow_runtime.dashboards.assembly import Site, collect, lay_out
from dataflow_runtime.dashboards.build import evidence, load_sources, log_file, prepared
from dataflow_runtime.dashboards.export import export
from dataflow_runtime.dashboards.model import Dashboard
from dataflow_runtime.dashboards.node import running
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.settings import get_settings

__all__ = ["serve"]

_START = 300.0
"""Seconds that Evidence may take to answer: at its first start it prepares its packages."""


def serve(host: str, port: int, *, on_progress: Callable[[str], None]) -> int:
    """Serve the site until Ctrl-C; return the exit code of the command.

    Args:
        host: Address to bind to.
        port: Port, which must be free.
        on_progress: Called with what is being done and with what is wrong with the dashboards.

    Raises:
        DataflowError: The port is taken, or Evidence does not start.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise DataflowError(
                f"{host}:{port}: {error.strerror}", hint="choose another --port"
            ) from error
    site = Site.of(get_settings())
    try:
        with prepared(site, on_progress) as node:
            on_progress("reading the warehouses")
            dashboards = collect(site)
            lay_out(site, dashboards)
            load_sources(site, node)
            _say_problems(dashboards, on_progress)
            on_progress("starting Evidence")
            command = evidence("dev", "--host", host, "--port", str(port), "--strictPort")
            with running(command, site.folder, node.environment(os.environ)) as process:
                log = threading.Thread(
                    target=_keep_log, args=(process, log_file(site, "dev")), daemon=True
                )
                log.start()
                _wait(process, host, port, log_file(site, "dev"))
                on_progress(
                    f"Dashboards: http://{host}:{port}{site.settings.dashboards_base_path}/"
                    "  (Ctrl-C stops it)"
                )
                _follow(site, dashboards, process, on_progress)
        raise DataflowError("Evidence has stopped", hint=f"its output: {log_file(site, 'dev')}")
    except KeyboardInterrupt:
        return 130


def _follow(
    site: Site,
    dashboards: list[Dashboard],
    process: subprocess.Popen[str],
    on_progress: Callable[[str], None],
) -> None:
    """Take over each edit, until Evidence ends."""
    folders = {
        dashboard.name: dashboard.folder for dashboard in dashboards if dashboard.folder is not None
    }
    for changes in watch(
        *(folder for folder in folders.values() if folder.is_dir()), yield_on_timeout=True
    ):
        if process.poll() is not None:
            return
        paths = [Path(path) for _, path in changes]
        edited = {
            name
            for name, folder in folders.items()
            if any(path.is_relative_to(folder) for path in paths)
        }
        if not edited:
            continue
        asked = any(path.suffix == ".sql" for path in paths)
        for index, dashboard in enumerate(dashboards):
            if dashboard.name in edited and (asked or dashboard.status != "ok"):
                dashboards[index] = export(
                    Dashboard(dashboard.workflow), site.data / dashboard.name
                )
        lay_out(site, dashboards)
        on_progress(f"updated {', '.join(sorted(edited))}")
        _say_problems(
            [dashboard for dashboard in dashboards if dashboard.name in edited], on_progress
        )


def _say_problems(dashboards: Iterable[Dashboard], on_progress: Callable[[str], None]) -> None:
    for dashboard in dashboards:
        for problem in dashboard.problems:
            on_progress(f"{dashboard.name}: {problem}")


def _keep_log(process: subprocess.Popen[str], file: Path) -> None:
    assert process.stdout is not None
    with file.open("w", encoding="utf-8") as log:
        for line in process.stdout:
            log.write(line)
            log.flush()


def _wait(process: subprocess.Popen[str], host: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise DataflowError("Evidence does not start", hint=f"its output: {log}")
