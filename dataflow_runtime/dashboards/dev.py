"""Serves the site while its files are edited: an edit in ``evidence/`` shows in the open page."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from watchfiles import watch

from dataflow_runtime.dashboards.build import VITE, prepared
from dataflow_runtime.dashboards.export import export
from dataflow_runtime.dashboards.model import Dashboard
from dataflow_runtime.dashboards.node import running
from dataflow_runtime.dashboards.project import Project, collect, lay_out
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
            hint = "choose another --port"
            raise DataflowError(f"{host}:{port}: {error.strerror}", hint=hint) from error
    project = Project(get_settings())
    log = project.log("dev")
    command = [*VITE, "dev", "--host", host, "--port", str(port), "--strictPort"]
    try:
        with prepared(project, on_progress) as node:
            on_progress("reading the warehouses")
            dashboards = collect(project)
            lay_out(project, dashboards)
            _report(dashboards, on_progress)
            on_progress("starting Evidence")
            with running(command, project.template, node.environment(), log) as process:
                _wait(process, host, port)
                base = project.settings.dashboards_base_path
                on_progress(f"Dashboards: http://{host}:{port}{base}/  (Ctrl-C stops it)")
                _follow(project, dashboards, process, on_progress)
        raise DataflowError("Evidence has stopped", hint=f"its output: {log}")
    except KeyboardInterrupt:
        return 130


def _wait(process: subprocess.Popen[bytes], host: str, port: int) -> None:
    """Wait until Evidence answers or ends."""
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return


def _follow(
    project: Project,
    dashboards: list[Dashboard],
    process: subprocess.Popen[bytes],
    on_progress: Callable[[str], None],
) -> None:
    """Take over each edit, until Evidence ends."""
    folders = [dashboard.folder for dashboard in dashboards if dashboard.folder.is_dir()]
    for changes in watch(*folders, yield_on_timeout=True):
        if process.poll() is not None:
            return
        paths = [Path(path) for _, path in changes]
        edited = []
        for index, dashboard in enumerate(dashboards):
            own = [path for path in paths if path.is_relative_to(dashboard.folder)]
            if any(path.suffix == ".sql" for path in own) or (own and dashboard.status != "ok"):
                data = project.data / dashboard.name
                dashboards[index] = export(Dashboard(dashboard.workflow), data)
            if own:
                edited.append(dashboards[index])
        if edited:
            lay_out(project, dashboards)
            on_progress(f"updated {', '.join(dashboard.name for dashboard in edited)}")
            _report(edited, on_progress)


def _report(dashboards: Iterable[Dashboard], on_progress: Callable[[str], None]) -> None:
    for dashboard in dashboards:
        for problem in dashboard.problems:
            on_progress(f"{dashboard.name}: {problem}")
