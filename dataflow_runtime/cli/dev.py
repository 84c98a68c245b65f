"""``dev``: the Dagster UI with all installed workflows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import click

from dataflow_runtime.cli.output import announced_home
from dataflow_runtime.errors import DataflowError

__all__ = ["dev_command"]


@click.command("dev")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the UI."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address that the UI binds to."
)
@click.pass_context
def dev_command(ctx: click.Context, *, port: int, host: str) -> None:
    """Start the Dagster UI with all installed workflows; Ctrl-C stops it."""
    from importlib.util import find_spec

    if find_spec("dagster_webserver") is None:
        raise DataflowError(
            "dagster-webserver is not installed", hint='pip install "dataflow-runtime[run]"'
        )
    from dataflow_runtime.orchestration.run import end_killed_runs, open_instance

    settings = announced_home()
    with open_instance() as instance:
        end_killed_runs(instance)
    # `dg dev`, by which Dagster says that this is superseded, calls the same function, from a package of its own.
    command = [sys.executable, "-W", "ignore::FutureWarning", "-m", "dagster", "dev"]
    command += ["-m", "dataflow_runtime.dagster_repo"]
    click.echo(f"Dagster UI: http://{host}:{port}  (state: {settings.home})", err=True)
    # A shell that starts us in the background has us ignore Ctrl-C, and Dagster with us: it would never stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--host", host, "--port", str(port)],
        env=os.environ
        | {"DAGSTER_HOME": str(settings.dagster_home), "DATAFLOW_HOME": str(settings.home)},
    )
    signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGINT))
    try:
        ctx.exit(process.wait())
    except KeyboardInterrupt:
        # The terminal has sent the same signal to Dagster, which stops its servers one by one.
        process.wait()
        ctx.exit(130)
