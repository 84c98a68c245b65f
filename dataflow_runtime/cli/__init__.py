"""The command line, ``dataflow-runtime``. Each command stands in a module of its own, imported when it is called."""

from __future__ import annotations

import gc
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from dataflow_runtime import __version__
from dataflow_runtime.errors import DataflowError, did_you_mean

__all__ = ["cli", "main"]

# Command to the module and attribute that hold it, in the order of the help text.
_COMMANDS = {
    "list": "catalog:list_command",
    "show": "catalog:show_command",
    "check": "check:check_command",
    "run": "run:run_command",
    "config": "config:config_group",
    "dbt": "dbt:dbt_command",
    "dev": "dev:dev_command",
    "workspace": "workspace:workspace_command",
    "serve": "serve:serve_command",
    "outdated": "outdated:outdated_command",
    "upgrade": "upgrade:upgrade_command",
    "dashboards": "dashboards:dashboards_group",
}


class _Commands(click.Group):
    """The commands, found by name and imported when one is asked for: ``list`` must not pay for ``run``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            suggestion = did_you_mean(args[0], _COMMANDS) if args else None
            raise click.UsageError(
                " ".join(filter(None, (error.message, suggestion))), ctx
            ) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dataflow-runtime")
@click.option(
    "--verbose",
    is_flag=True,
    help="Show the traceback of an error, and the logs of the tools underneath.",
)
@click.pass_context
def cli(ctx: click.Context, *, verbose: bool) -> None:
    """List, check, configure and run the installed data workflows."""
    ctx.obj = verbose


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 what was asked failed, 2 wrong usage, 130 interrupted."""
    # Dagster, dlt and dbt make a million objects that stay: looking among them for garbage is a fifth of a small run.
    gc.set_threshold(100_000, 50, 100)
    _show_deprecations()
    _read_dotenv()
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except DataflowError as error:
        if "--verbose" in sys.argv:
            raise
        _show(error)
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _show(error: DataflowError) -> None:
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(error.message, err=True)
    if error.hint:
        click.secho("hint: ", fg="cyan", bold=True, nl=False, err=True)
        click.echo(error.hint, err=True)


def _show_deprecations() -> None:
    """Have warnings of `config.renamed` printed, which Python hides by default, as one line on stderr."""
    warnings.filterwarnings("default", ".*the old name is read until version", DeprecationWarning)
    usual = warnings.formatwarning

    def formatted(message: Warning | str, category: type[Warning], *place: Any, **line: Any) -> str:
        ours = category.__name__ == "DeprecatedKeyWarning"
        return f"warning: {message}\n" if ours else usual(message, category, *place, **line)

    warnings.formatwarning = formatted


def _read_dotenv() -> None:
    """Take variables from the working directory's ``.env``, as `dagster dev` does; the environment's own win."""
    if Path(".env").is_file():
        from dotenv import load_dotenv

        load_dotenv(".env", override=False)
