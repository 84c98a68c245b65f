"""``config``: list, show, validate, edit and describe the workflows' configurations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataflow_runtime.cli.options import (
    Group,
    complete_workflows,
    env_option,
    json_option,
    key_values_argument,
    name_argument,
    names_argument,
    set_option,
)
from dataflow_runtime.cli.output import (
    Progress,
    clean,
    echo,
    plural,
    print_json,
    print_table,
    quiet_stdout,
    styled,
)
from dataflow_runtime.errors import UsageError

if TYPE_CHECKING:
    from dataflow_runtime.config import CheckedConfig, Problem

__all__ = ["config_group"]


@click.group("config", cls=Group)
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
    if not configs:
        echo("no workflow is installed", err=True)
        return
    rows = []
    for config in configs:
        file = display_path(config.file) if config.file else "–"
        missing = "" if config.exists else " (missing)"
        environments = ", ".join(config.environments) or "–"
        rows.append((config.name, config.package, environments, f"{file}{missing}"))
    print_table(rows, header=("workflow", "package", "environments", "config"))


@config_group.command("show")
@name_argument
@click.option("--origins", is_flag=True, help="Say where each value comes from: layer, file, line.")
@env_option
@set_option
@json_option
def show_command(
    *, name: str, origins: bool, env: str | None, overrides: Mapping[str, str], as_json: bool
) -> None:
    """Show what a run would use: every value of every layer, secrets masked.

    \b
    Examples:
      dataflow-runtime config show my_workflow --origins
      dataflow-runtime config show my_workflow --env prod --json
    """
    from dataflow_runtime.config import config_manager

    with quiet_stdout():
        effective = config_manager.effective(name, env=env, overrides=overrides)
    if as_json:
        shown = {"name": effective.name, "env": effective.env, "config": effective.config}
        origins_of = {key: asdict(origin) for key, origin in effective.origins.items()}
        print_json({**shown, "origins": origins_of if origins else None})
        return
    lines = [*_yaml_lines(effective.config)]
    width = min(max((len(text) for text, _ in lines), default=0), 60)
    for text, key in lines:
        origin = effective.origins.get(key) if origins and key else None
        comment = "  " + styled(f"# {origin}", dim=True) if origin else ""
        echo(f"{clean(text):<{width}}{comment}" if comment else clean(text))


@config_group.command("validate")
@names_argument
@env_option
@set_option
@json_option
@click.pass_context
def validate_command(
    ctx: click.Context,
    *,
    names: Sequence[str],
    env: str | None,
    overrides: Mapping[str, str],
    as_json: bool,
) -> None:
    """Validate configurations, of all workflows when no name is given.

    Exit code 1 if any is not valid.

    \b
    Examples:
      dataflow-runtime config validate
      dataflow-runtime config validate my_workflow --env prod
    """
    from dataflow_runtime.config import config_manager

    known = names or [config.name for config in config_manager.list_configs()]
    with quiet_stdout(), Progress("validating"):
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
@name_argument
@key_values_argument
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="The file to edit: an overlay, or a checkout's config.yaml.",
)
@click.option(
    "--installed", is_flag=True, help="Edit an installed copy, which the next upgrade replaces."
)
@click.option("--force", is_flag=True, help="Replace a value that the file takes from a variable.")
def set_command(
    *, name: str, values: Mapping[str, str], file: Path | None, installed: bool, force: bool
) -> None:
    """Write values into config.yaml. Comments, order and quotes stay.

    A result that would be invalid is not written.

    \b
    Examples:
      dataflow-runtime config set my_workflow processing.batch_size=10000
      dataflow-runtime config set my_workflow source.type=mock --file config.dev.yaml
    """
    from dataflow_runtime.config import config_manager
    from dataflow_runtime.config.problems import display_path

    if file is None and not installed:
        _refuse_installed_copy(config_manager.config_file(name))
    with quiet_stdout():
        edited = config_manager.set_values(name, values, file=file, force=force)
    echo(clean(f"{display_path(edited)}: set {', '.join(values)}"))


def _refuse_installed_copy(file: Path) -> None:
    if {"site-packages", "dist-packages"} & set(file.parts):
        raise UsageError(
            f"{file} is an installed copy, which the next upgrade of the package replaces",
            hint="`pip install -e` the checkout, name its file with --file, or give --installed",
        )


@config_group.command("schema")
@click.argument("name", required=False, shell_complete=complete_workflows)
def schema_command(*, name: str | None) -> None:
    """Print the JSON Schema of config.yaml, of NAME's own model if it brings one. For editors."""
    from dataflow_runtime.config import WorkflowConfig, config_manager
    from dataflow_runtime.config.schema import config_schema

    with quiet_stdout():
        if name is not None:
            config_manager.config_file(name)
        schema = config_schema(config_manager.model_of(name) if name else WorkflowConfig)
    print_json(schema)


def _checked_json(config: CheckedConfig) -> dict[str, Any]:
    return {
        "name": config.name,
        "valid": config.valid,
        "errors": [problem.as_dict() for problem in config.problems],
        "warnings": [problem.as_dict() for problem in config.warnings],
    }


def _print_checked(checked: Sequence[CheckedConfig]) -> None:
    for config in checked:
        word = styled("valid  ", fg="green") if config.valid else styled("invalid", fg="red")
        echo(f"{word}  {clean(config.name)}")
        _print_problems(config.problems, "")
        _print_problems(config.warnings, styled("warning: ", fg="yellow"))
    invalid = sum(not config.valid for config in checked)
    problems = plural(sum(len(config.problems) for config in checked), "problem")
    outcome = f"{invalid} invalid, {problems}" if invalid else "all valid"
    echo(f"{plural(len(checked), 'configuration')}: {outcome}")


def _print_problems(problems: Sequence[Problem], prefix: str) -> None:
    from dataflow_runtime.config.problems import render_problem

    for problem in problems:
        headline, *others = render_problem(problem).split("\n")
        echo(prefix + styled(headline, bold=True))
        for line in others:
            echo(clean(line))


def _yaml_lines(
    values: Mapping[str, Any], path: str = "", indent: str = ""
) -> Iterator[tuple[str, str | None]]:
    """Yield lines of YAML and, for those that hold a value, its dotted key."""
    for key, value in values.items():
        line = f"{indent}{_scalar(key)}:"
        if isinstance(value, dict) and value:
            yield line, None
            yield from _yaml_lines(value, f"{path}{key}.", f"{indent}  ")
        else:
            yield f"{line} {_scalar(value)}", f"{path}{key}"


def _scalar(value: Any) -> str:
    from dataflow_runtime.config.edit import plain_or_quoted

    if isinstance(value, str):
        return plain_or_quoted(value)
    # JSON is YAML.
    return json.dumps(value, ensure_ascii=False)
