"""``dev``: the Dagster UI with all installed workflows."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from dataflow_runtime.cli import options, output
from dataflow_runtime.cli.failures import require

# Runs Dagster in its own session until the pipe on stdin closes: when `dev` stops, and also when
# `dev` is killed. What has not stopped after 10 seconds is killed.
_DAGSTER = """
import os, runpy, signal, threading, time

def stop():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=stop, daemon=True).start()
runpy.run_module("dagster", run_name="__main__")
"""


@click.command("dev")
@options.address_options(port=3000)
def dev_command(*, port: int, host: str) -> int:
    """Start the Dagster UI with all installed workflows; Ctrl-C stops it.

    \b
    Example:
      dataflow-runtime dev --port 3001
    """
    require("run")
    options.listen(host, port).close()
    from dataflow_runtime.orchestration.run import open_instance
    from dataflow_runtime.orchestration.schedules import switched_off
    from dataflow_runtime.orchestration.workers import end_killed_runs
    from dataflow_runtime.settings import get_settings
    from dataflow_runtime.workflows.discovery import find_workflow

    for name in get_settings().workflows:
        find_workflow(name)
    settings = output.announced_home()
    with open_instance() as instance:
        end_killed_runs(instance)
        off = switched_off(instance)
    homes = {"DAGSTER_HOME": str(settings.dagster_home), "DATAFLOW_HOME": str(settings.home)}
    # `dg dev`, which supersedes it according to Dagster, calls the same function.
    command = [sys.executable, "-W", "ignore::FutureWarning", "-c", _DAGSTER, "dev"]
    command += ["-m", "dataflow_runtime.dagster_repo", "--host", host, "--port", str(port)]
    url = f"http://{host}:{port}"
    output.echo(output.clean(f"Dagster UI: {url}  (state: {settings.home})"), err=True)
    if off:
        names = ", ".join(off[:5]) + (", …" if len(off) > 5 else "")
        text = f"Schedules that are off: {len(off)} ({names}); switch them on at {url}/automation"
        output.echo(output.clean(text), err=True)
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, env=os.environ | homes, stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.communicate()
        return 130
