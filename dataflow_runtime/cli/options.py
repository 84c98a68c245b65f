"""What commands share: their options and arguments, their groups, and what a shell completes."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

from dataflow_runtime.errors import DataflowError, UsageError, did_you_mean

VERBOSE_HELP = "Show the traceback of an error, and the logs of the tools underneath."

F = TypeVar("F", bound=Callable[..., Any])


class Group(click.Group):
    """A group that keeps the order of its commands, and suggests one for a misspelt name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which the commands were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called; the error of an unknown one suggests another."""
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            hint = did_you_mean(name, self.commands)
            hint = hint or f"`{ctx.command_path} --help` lists the commands"
            raise UsageError(f"No such command {name!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands. click itself cuts their summaries at the end of the line."""
        with formatter.section("Commands"):
            summaries = [(name, one.get_short_help_str(999)) for name, one in self.commands.items()]
            formatter.write_dl(summaries)


def add_verbose(command: click.Command) -> None:
    """Add ``-v`` to a command and to those below it."""

    def be_verbose(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.find_root().obj.verbose = True

    option = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=be_verbose, help=VERBOSE_HELP
    )
    option(command)
    for below in getattr(command, "commands", {}).values():
        add_verbose(below)


def key_values(
    texts: Sequence[str], what: str, example: str = "processing.batch_size=1000"
) -> dict[str, str]:
    """Return the keys and values of ``KEY=VALUE`` texts.

    Raises:
        UsageError: A text has another form. It may hold a secret, so it is not shown.
    """
    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        # A colon in the key is a typing mistake, as in `password:secret=`.
        if not equals or not re.fullmatch(r"[^\s:]+( [^\s:]+)*", key.strip()):
            message = f"{what}, found something else (not shown: it may be a secret)"
            raise UsageError(message, hint=f"for example {example}")
        values[key.strip()] = value
    return values


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at this address.

    Raises:
        DataflowError: The address is not of this machine, or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        # Python adds the address once more, in brackets.
        message = f"{host}:{port}: {str(error.strerror).partition(' (')[0]}"
        raise DataflowError(message, hint="choose another --port") from None


def complete_workflows(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of installed workflows that begin like this."""
    from dataflow_runtime.workflows.discovery import find_workflows

    names = [workflow.name for workflow in find_workflows()]
    return [name for name in names if name.startswith(incomplete)]


def _complete_environments(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from dataflow_runtime.config import config_manager

    configs = config_manager.list_configs()
    # Where the option is the last word, click has not parsed the arguments.
    given = {ctx.params.get("name"), *ctx.args}
    named = [config for config in configs if config.name in given]
    known = sorted({name for config in named or configs for name in config.environments})
    return [name for name in known if name.startswith(incomplete)]


def complete_keys(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the keys of a config that begin like this, as ``KEY=``."""
    from dataflow_runtime.config import WorkflowConfig

    return sorted({key for key in _keys(WorkflowConfig, "") if key.startswith(incomplete)})


def _keys(annotation: Any, key: str) -> Iterator[str]:
    """Yield ``section.key=`` of every value of a config model or of a type that is made of some."""
    if hasattr(annotation, "model_fields"):
        for name, field in annotation.model_fields.items():
            path = f"{key}.{field.alias or name}".lstrip(".")
            yield from set(_keys(field.annotation, path)) or {f"{path}="}
    for part in getattr(annotation, "__args__", ()):
        yield from _keys(part, key)


json_option = click.option(
    "as_json", "--json", is_flag=True, help="Print JSON, and nothing else on stdout."
)
name_argument = click.argument("name", shell_complete=complete_workflows)
names_argument = click.argument(
    "names", metavar="[NAME]...", nargs=-1, shell_complete=complete_workflows
)
env_option = click.option(
    "--env",
    metavar="ENV",
    shell_complete=_complete_environments,
    help="Overlay config.<ENV>.yaml; by default DATAFLOW_ENV.",
)
set_option = click.option(
    "overrides",
    "--set",
    metavar="KEY=VALUE",
    multiple=True,
    callback=lambda ctx, param, texts: key_values(texts, "--set: expected KEY=VALUE"),
    shell_complete=complete_keys,
    help="Use this config value instead; can be given several times.",
)


def address_options(port: int, *, lowest: int = 1) -> Callable[[F], F]:
    """Add ``--host`` and ``--port``; port 0, where it is allowed, takes a free one."""

    def add(command: F) -> F:
        kind = click.IntRange(lowest, 65535)
        text = "Port." if lowest else "Port; 0 takes a free one."
        for_port = click.option("--port", type=kind, default=port, show_default=True, help=text)
        text = "Address to bind to."
        for_host = click.option("--host", default="127.0.0.1", show_default=True, help=text)
        return for_port(for_host(command))

    return add
