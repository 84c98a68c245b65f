"""``dbt``: dbt itself, on a workflow's project and with its connection."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from dataflow_runtime.cli.failures import require
from dataflow_runtime.cli.options import env_option, name_argument
from dataflow_runtime.cli.output import announced_home

__all__ = ["dbt_command"]


@click.command("dbt", context_settings={"ignore_unknown_options": True})
@name_argument
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@env_option
@click.pass_context
def dbt_command(
    ctx: click.Context, *, name: str, arguments: tuple[str, ...], env: str | None
) -> None:
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

    announced_home()
    config = config_manager.load_config(name, env=env)
    # A process of its own: dbt's output, colours and exit code are its own affair.
    dbt = [sys.executable, "-c", "from dbt.cli.main import cli; cli(prog_name='dbt')"]
    with exclusive(config):
        variables = os.environ | environment(config)
        ctx.exit(subprocess.run([*dbt, *arguments], env=variables, check=False).returncode)  # noqa: S603
