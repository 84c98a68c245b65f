"""``config``: list, show, validate, edit and describe the configurations of the installed workflows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataflow_runtime.cli.output import json_option, print_json, print_table, quiet_stdout
from dataflow_runtime.errors import UsageError

if TYPE_CHECKING:
    from dataflow_runtime.config import CheckedConfig, EffectiveConfig, Problem

__all__ = ["config_group"]

_ENV = click.option(
    "--env", metavar="ENV", help="Overlay config.<ENV>.yaml; by default DATAFLOW_ENV."
)
_SET = click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a value, as `run` does.",
)


@click.group("config")
def config_group() -> None:
    """Show, validate and edit configurations."""


@config_group.command("list")
@json_option
def list_command(*, as_json: bool) -> None:
    """List the configuration files of all installed workflows."""
    from dataflow_runtime.config import config_manager
    from dataflow_runtime.config.problems import display_path

    configs = config_manager.list_configs()
    if as_json:
        print_json([asdict(config) for config in configs])
        return
    rows = []
    for config in configs:
        file = display_path(config.file) if config.file else "–"
        missing = "" if config.exists else " (missing)"
        rows.append(
            (config.name, config.package, ", ".join(config.environments) or "–", f"{file}{missing}")
        )
    print_table(rows, header=("workflow", "package", "environments", "config"))


@config_group.command("show")
@click.argument("name")
@click.option(
    "--origins", is_flag=True, help="Say which layer, file and line each value comes from."
)
@_ENV
@_SET
@json_option
def show_command(
    *, name: str, origins: bool, env: str | None, assignments: Sequence[str], as_json: bool
) -> None:
    """Show what a run would use: every value of every layer, secrets masked."""
    from dataflow_runtime.config import config_manager

    with quiet_stdout():
        effective = config_manager.effective(name, env=env, overrides=_assigned(assignments))
    if as_json:
        shown = {"name": effective.name, "env": effective.env, "config": effective.config}
        origins_of = {key: asdict(origin) for key, origin in effective.origins.items()}
        print_json({**shown, "origins": origins_of if origins else None})
        return
    lines = [*_yaml_lines(effective)]
    width = min(max((len(text) for text, _ in lines), default=0), 60)
    for text, key in lines:
        if origins and key is not None:
            text = f"{text:<{width}}  {click.style(f'# {effective.origins[key]}', dim=True)}"
        click.echo(text)


@config_group.command("validate")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@_ENV
@_SET
@json_option
@click.pass_context
def validate_command(
    ctx: click.Context,
    *,
    names: Sequence[str],
    env: str | None,
    assignments: Sequence[str],
    as_json: bool,
) -> None:
    """Validate configurations, of all workflows when no name is given. Exit code 1 if any is not valid."""
    from dataflow_runtime.config import config_manager

    overrides = _assigned(assignments)
    known = names or [config.name for config in config_manager.list_configs()]
    with quiet_stdout():
        checked = [
            config_manager.check(name, env=env, overrides=overrides)
            for name in dict.fromkeys(known)
        ]
    if as_json:
        print_json([_checked_json(config) for config in checked])
    else:
        _print_checked(checked)
    if not all(config.valid for config in checked):
        ctx.exit(1)


@config_group.command("set")
@click.argument("name")
@click.argument("assignments", metavar="KEY=VALUE...", nargs=-1, required=True)
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="The file to edit: an overlay, or a checkout's config.yaml.",
)
@click.option("--force", is_flag=True, help="Replace a value that the file takes from a variable.")
def set_command(*, name: str, assignments: Sequence[str], file: Path | None, force: bool) -> None:
    """Write values into config.yaml. Comments, order and quotes stay; an invalid result is not written."""
    from dataflow_runtime.config import config_manager
    from dataflow_runtime.config.problems import display_path

    with quiet_stdout():
        edited = config_manager.set_values(name, _assigned(assignments), file=file, force=force)
    click.echo(f"{display_path(edited)}: set {', '.join(_assigned(assignments))}")


@config_group.command("schema")
@click.argument("name", required=False)
def schema_command(*, name: str | None) -> None:
    """Print the JSON Schema of config.yaml, of NAME's own model if it brings one. For editors."""
    from dataflow_runtime.config import WorkflowConfig, config_manager
    from dataflow_runtime.config.schema import config_schema

    with quiet_stdout():
        if name is not None:
            config_manager.config_file(name)
        schema = config_schema(config_manager.model_of(name) if name else WorkflowConfig)
    print_json(schema)


def _assigned(assignments: Sequence[str]) -> dict[str, str]:
    values = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            # Not the whole text: a value may be a secret.
            raise UsageError(
                f"expected KEY=VALUE, found {key!r}", hint="for example processing.batch_size=1000"
            )
        values[key.strip()] = value
    return values


def _checked_json(config: CheckedConfig) -> dict[str, Any]:
    return {
        "name": config.name,
        "valid": config.valid,
        "errors": [problem.as_dict() for problem in config.problems],
        "warnings": [problem.as_dict() for problem in config.warnings],
    }


def _print_checked(checked: Sequence[CheckedConfig]) -> None:
    for config in checked:
        if config.valid:
            click.echo(f"{click.style('valid', fg='green')}    {config.name}")
        else:
            click.echo(f"{click.style('invalid', fg='red', bold=True)}  {config.name}")
        _print_problems(config.problems, "")
        _print_problems(config.warnings, click.style("warning: ", fg="yellow"))
    invalid = sum(not config.valid for config in checked)
    problems = sum(len(config.problems) for config in checked)
    summary = (
        f"{invalid} invalid, {problems} problem{'s' if problems != 1 else ''}"
        if invalid
        else "all valid"
    )
    click.echo(f"{len(checked)} configuration{'s' if len(checked) != 1 else ''}: {summary}")


def _print_problems(problems: Sequence[Problem], prefix: str) -> None:
    from dataflow_runtime.config.problems import render_problem

    for problem in problems:
        # click removes the colours where stdout is not a terminal.
        click.echo(prefix + render_problem(problem, color="NO_COLOR" not in os.environ))


def _yaml_lines(effective: EffectiveConfig) -> Iterator[tuple[str, str | None]]:
    """Yield lines of YAML and, for those that hold a value, its dotted key."""

    def lines(values: dict[str, Any], path: str, depth: int) -> Iterator[tuple[str, str | None]]:
        for key, value in values.items():
            dotted = f"{path}.{key}" if path else key
            if isinstance(value, dict) and value:
                yield f"{'  ' * depth}{_scalar(key)}:", None
                yield from lines(value, dotted, depth + 1)
            else:
                yield f"{'  ' * depth}{_scalar(key)}: {_scalar(value)}", dotted

    yield from lines(effective.config, "", 0)


def _scalar(value: Any) -> str:
    from dataflow_runtime.config.edit import plain_or_quoted

    if isinstance(value, str):
        return plain_or_quoted(value)
    # JSON is YAML.
    return json.dumps(value, ensure_ascii=False)
