"""The command line, ``dataflow-runtime``: parses input, calls the layers below, prints.

Each command is in its own module, imported when it is called; heavy imports wait until it runs.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click

from dataflow_runtime import __version__
from dataflow_runtime.cli.failures import end
from dataflow_runtime.cli.options import VERBOSE_HELP, Group
from dataflow_runtime.cli.output import has_colors
from dataflow_runtime.errors import UsageError

__all__ = ["cli", "main"]

# Command to the module and attribute that hold it, in the order of the help text.
_COMMANDS = {
    "list": "listing:list_command",
    "show": "listing:show_command",
    "check": "check:check_command",
    "run": "run:run_command",
    "config": "config:config_group",
    "dbt": "dbt:dbt_command",
    "dev": "dev:dev_command",
    "serve": "serve:serve_command",
    "dashboards": "dashboards:dashboards_group",
    "workspace": "workspace:workspace_command",
    "outdated": "outdated:outdated_command",
    "upgrade": "upgrade:upgrade_command",
    "completion": "completion:completion_command",
}


class _Commands(Group):
    """The commands, imported when one is asked for: ``list`` must not pay for ``run``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS and cmd_name not in self.commands:
            module, _, attribute = _COMMANDS[cmd_name].partition(":")
            self.add_command(getattr(import_module(f"{__name__}.{module}"), attribute), cmd_name)
        return super().get_command(ctx, cmd_name)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "-V", "--version", prog_name="dataflow-runtime")
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help=f"{VERBOSE_HELP} Without a command: the version.",
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


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 what was asked failed, 2 wrong usage, 130 interrupted.
    """
    state = SimpleNamespace(verbose=False)
    if isinstance(sys.stdout, TextIOWrapper):
        # A character that the terminal's encoding lacks must not end a command.
        sys.stdout.reconfigure(errors="backslashreplace")
    _show_deprecations()
    try:
        _read_dotenv()
        code = cli.main(standalone_mode=False, obj=state, color=None if has_colors() else False)
    except Exception as error:
        code = end(error, verbose=state.verbose)
    sys.exit(code if isinstance(code, int) else 0)


def _show_deprecations() -> None:
    """Print warnings of `config.renamed`, which Python hides by default, as one line on stderr."""
    warnings.filterwarnings("default", ".*the old name is read until version", DeprecationWarning)
    usual = warnings.formatwarning

    def formatted(message: Warning | str, category: type[Warning], *place: Any, **line: Any) -> str:
        ours = category.__name__ == "DeprecatedKeyWarning"
        return f"warning: {message}\n" if ours else usual(message, category, *place, **line)

    warnings.formatwarning = formatted


def _read_dotenv() -> None:
    """Read the working directory's ``.env``, as `dagster dev` does; variables that are set win."""
    if Path(".env").is_file():
        from dotenv import load_dotenv

        try:
            load_dotenv(".env", override=False)
        except UnicodeDecodeError as error:
            raise UsageError(
                f".env: byte {error.start + 1} is not UTF-8", hint="save the file as UTF-8"
            ) from None
