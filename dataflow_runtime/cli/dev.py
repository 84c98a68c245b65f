"""``dev``: the Dagster UI with all installed workflows."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Any

import click

from dataflow_runtime.cli.failures import require
from dataflow_runtime.cli.output import announced_home, clean, echo
from dataflow_runtime.errors import DataflowError

__all__ = ["dev_command"]

_PATIENCE = 15  # seconds for Dagster to stop its processes

# Runs Dagster in its own session until the pipe on stdin closes: when `dev` stops, and also when
# `dev` is killed. What has not stopped after a while is killed.
_DAGSTER = f"""
import os, runpy, signal, threading, time

def stop():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep({_PATIENCE})
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=stop, daemon=True).start()
runpy.run_module("dagster", run_name="__main__")
"""


@click.command("dev")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the UI."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address that the UI binds to."
)
@click.pass_context
def dev_command(ctx: click.Context, *, port: int, host: str) -> None:
    """Start the Dagster UI with all installed workflows; Ctrl-C stops it.

    \b
    Example:
      dataflow-runtime dev --port 3001
    """
    require("run")
    _check_port(host, port)
    from dataflow_runtime.orchestration.run import end_killed_runs, open_instance

    settings = announced_home()
    with open_instance() as instance:
        end_killed_runs(instance)
    homes = {"DAGSTER_HOME": str(settings.dagster_home), "DATAFLOW_HOME": str(settings.home)}
    # `dg dev`, which supersedes it according to Dagster, calls the same function.
    command = [sys.executable, "-W", "ignore::FutureWarning", "-c", _DAGSTER, "dev"]
    command += ["-m", "dataflow_runtime.dagster_repo", "--host", host, "--port", str(port)]
    echo(clean(f"Dagster UI: http://{host}:{port}  (state: {settings.home})"), err=True)
    # A shell that starts us in the background has us ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with subprocess.Popen(  # noqa: S603 - our own command
        command, env=os.environ | homes, stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            ctx.exit(process.wait())
        except KeyboardInterrupt:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
            ctx.exit(130)


def _interrupt(*_: Any) -> None:
    # Once: a second signal, as terminals and supervisors send, must not interrupt the stopping.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _check_port(host: str, port: int) -> None:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise DataflowError(
            f"{host}:{port}: {error.strerror or error}", hint="--port N takes another port"
        ) from None
