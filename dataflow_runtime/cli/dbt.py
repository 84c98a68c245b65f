"""``dbt``: dbt itself, on a workflow's project and with its connection."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import click

from dataflow_runtime.cli import options, output
from dataflow_runtime.cli.failures import require


@click.command("dbt", context_settings={"ignore_unknown_options": True})
@options.name_argument
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@options.env_option
def dbt_command(*, name: str, arguments: Sequence[str], env: str | None) -> int:
    """Run dbt on a workflow's project, with the connection of its config.

    \b
    Examples:
      dataflow-runtime dbt my_workflow -- test --select staging
      dataflow-runtime dbt my_workflow --env prod -- docs generate
    """
    from dataflow_runtime.workflows.discovery import find_workflow

    find_workflow(name)
    require("run")
    from dataflow_runtime.config import config_manager
    from dataflow_runtime.pipeline.dbt import environment
    from dataflow_runtime.pipeline.warehouse import exclusive

    output.announced_home()
    config = config_manager.load_config(name, env=env)
    # A process of its own: dbt's output, colours and exit code are its own affair.
    dbt = [sys.executable, "-c", "from dbt.cli.main import cli; cli(prog_name='dbt')", *arguments]
    with exclusive(config):
        variables = os.environ | environment(config)
        return subprocess.run(dbt, env=variables, check=False).returncode  # noqa: S603
