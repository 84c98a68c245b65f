"""What commands share: their options and arguments, their groups, and what a shell completes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dataflow_runtime.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "VERBOSE_HELP",
    "Group",
    "assignments",
    "complete_workflows",
    "env_option",
    "json_option",
    "key_values_argument",
    "name_argument",
    "names_argument",
    "set_option",
]

F = TypeVar("F", bound=Callable[..., Any])


class Group(click.Group):
    """A group whose commands take ``-v`` after their names; a misspelt name gets a suggestion."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, with the options that every command has."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and _VERBOSE not in command.params:
            command.params.append(_VERBOSE)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called; the error of an unknown one suggests another."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            hint = did_you_mean(name, self.list_commands(ctx))
            hint = hint or f"`{ctx.command_path} --help` lists the commands"
            raise UsageError(f"No such command {name!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands. click itself cuts their summaries at the end of the line."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(1_000)) for name, command in commands if command]
            )


VERBOSE_HELP = "Show the traceback of an error, and the logs of the tools underneath."


def _be_verbose(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().obj.verbose = True


_VERBOSE = click.Option(
    ["-v", "--verbose"],
    is_flag=True,
    expose_value=False,
    callback=_be_verbose,
    help=VERBOSE_HELP,
)


def assignments(
    texts: Sequence[str], *, what: str, example: str, form: str = "KEY=VALUE"
) -> dict[str, str]:
    """Return the keys and values of texts like ``KEY=VALUE``.

    Args:
        texts: What was given.
        what: The option or argument, for the error.
        example: A correct text, for the hint.
        form: What is expected.

    Raises:
        UsageError: A text has another form. It may hold a secret, so it is not shown.
    """
    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        # A colon in the key is a typing mistake, as in `password:secret=`.
        if not equals or not re.fullmatch(r"[^\s:]+( [^\s:]+)*", key.strip()):
            raise UsageError(
                f"{what}: expected {form}, found another form (not shown, it may be a secret)",
                hint=f"for example {example}",
            )
        values[key.strip()] = value
    return values


def json_option(command: F) -> F:
    """Add ``--json``, which every command that prints data has."""
    return click.option(
        "as_json", "--json", is_flag=True, help="Print JSON, and nothing else on stdout."
    )(command)


def _overrides(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    return assignments(texts, what="--set", example="--set processing.batch_size=1000")


def _key_values(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    return assignments(texts, what="KEY=VALUE", example="processing.batch_size=1000")


def complete_workflows(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of installed workflows that begin like this."""
    from dataflow_runtime.workflows.discovery import find_workflows

    names = (workflow.name for workflow in find_workflows())
    return [name for name in names if name.startswith(incomplete)]


def _environments(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from dataflow_runtime.config import config_manager

    configs = config_manager.list_configs()
    named = [config for config in configs if config.name == ctx.params.get("name")]
    names = {name for config in named or configs for name in config.environments}
    return sorted(name for name in names if name.startswith(incomplete))


def _config_keys(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from dataflow_runtime.config import WorkflowConfig

    return sorted({key for key in _keys(WorkflowConfig) if key.startswith(incomplete)})


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield ``section.key=`` of every value of a config. A workflow's own model is not imported."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        sections = list(_models(field.annotation))
        for section in sections:
            yield from _keys(section, f"{key}.")
        if not sections:
            yield f"{key}="


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if hasattr(annotation, "model_fields"):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models(part)


name_argument = click.argument("name", shell_complete=complete_workflows)
names_argument = click.argument(
    "names", metavar="[NAME]...", nargs=-1, shell_complete=complete_workflows
)
env_option = click.option(
    "--env",
    metavar="ENV",
    shell_complete=_environments,
    help="Overlay config.<ENV>.yaml; by default DATAFLOW_ENV.",
)
set_option = click.option(
    "overrides",
    "--set",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_overrides,
    shell_complete=_config_keys,
    help="Use this config value instead; can be given several times.",
)
key_values_argument = click.argument(
    "values",
    metavar="KEY=VALUE...",
    nargs=-1,
    required=True,
    callback=_key_values,
    shell_complete=_config_keys,
)
