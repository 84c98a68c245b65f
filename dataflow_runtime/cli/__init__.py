"""The command line, ``dataflow-runtime``: parses input, calls the layers below, prints.

Each command is in its own module. None imports anything heavy before it runs.
"""

from __future__ import annotations

import shutil
import signal
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from types import SimpleNamespace

import click

from dataflow_runtime import __version__
from dataflow_runtime.cli.adopt import adopt_command
from dataflow_runtime.cli.check import check_command
from dataflow_runtime.cli.completion import completion_command
from dataflow_runtime.cli.config import config_group
from dataflow_runtime.cli.dashboards import dashboards_group
from dataflow_runtime.cli.dbt import dbt_command
from dataflow_runtime.cli.dev import dev_command
from dataflow_runtime.cli.doctor import doctor_command
from dataflow_runtime.cli.failures import end
from dataflow_runtime.cli.listing import list_command, show_command
from dataflow_runtime.cli.options import VERBOSE_HELP, Group, add_verbose
from dataflow_runtime.cli.outdated import outdated_command
from dataflow_runtime.cli.output import print_error
from dataflow_runtime.cli.rejected import rejected_command
from dataflow_runtime.cli.run import run_command
from dataflow_runtime.cli.serve import serve_command
from dataflow_runtime.cli.upgrade import upgrade_command
from dataflow_runtime.cli.workspace import workspace_command
from dataflow_runtime.errors import UsageError

__all__ = ["cli", "main"]


@click.group(
    cls=Group,
    invoke_without_command=True,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "-V", "--version", prog_name="dataflow-runtime")
@click.option(
    "-v", "--verbose", is_flag=True, help=f"{VERBOSE_HELP} Without a command: the version."
)
@click.pass_context
def cli(ctx: click.Context, *, verbose: bool) -> None:
    """List, check, configure and run the installed data workflows.

    \b
    Examples:
      dataflow-runtime list
      dataflow-runtime run my_workflow --set source.type=mock
      dataflow-runtime config show my_workflow --origins
    """
    ctx.ensure_object(SimpleNamespace).verbose = verbose
    if ctx.invoked_subcommand is None:
        click.echo(f"dataflow-runtime, version {__version__}")


# In the order of the help text.
_COMMANDS = (
    *(
        list_command,
        show_command,
        check_command,
        run_command,
        rejected_command,
        config_group,
        dbt_command,
    ),
    *(dev_command, serve_command, dashboards_group, workspace_command, outdated_command),
    *(upgrade_command, adopt_command, doctor_command, completion_command),
)
for _command in _COMMANDS:
    cli.add_command(_command)
    add_verbose(_command)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 what was asked failed, 2 wrong usage, 130 interrupted.
    """
    # As Ctrl-C, which the shell has us ignore if it starts us in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    state = SimpleNamespace(verbose=False)
    if isinstance(sys.stdout, TextIOWrapper):
        # A character that the terminal's encoding lacks must not end a command.
        sys.stdout.reconfigure(errors="backslashreplace")
    # One line each, not Python's two with a place in our code.
    warnings.showwarning = lambda message, *_, **__: print_error(str(message), label="warning")
    try:
        _read_dotenv()
        # click itself makes help at least 50 columns wide.
        width = min(shutil.get_terminal_size().columns, 80) - 2
        code = cli.main(standalone_mode=False, obj=state, terminal_width=width)
    except (Exception, KeyboardInterrupt) as error:
        code = end(error, verbose=state.verbose)
    sys.exit(code if isinstance(code, int) else 0)


def _read_dotenv() -> None:
    """Read the working directory's ``.env``, as `dagster dev` does; variables that are set win."""
    if Path(".env").is_file():
        from dotenv import load_dotenv

        try:
            load_dotenv(".env", override=False)
        except UnicodeDecodeError as error:
            message = f".env: byte {error.start + 1} is not UTF-8"
            raise UsageError(message, hint="save the file as UTF-8") from None
