"""``config``: list, show, validate, edit and describe the workflows' configurations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataflow_runtime.cli import options, output
from dataflow_runtime.errors import UsageError

if TYPE_CHECKING:
    from dataflow_runtime.config import CheckedConfig


@click.group("config", cls=options.Group)
def config_group() -> None:
    """Show, validate and edit configurations."""


@config_group.command("list")
@options.json_option
def list_command(*, as_json: bool) -> None:
    """List the configuration files of all installed workflows."""
    from dataflow_runtime.config import config_manager
    from dataflow_runtime.config.problems import display_path

    configs = config_manager.list_configs()
    if as_json:
        output.print_json([asdict(config) for config in configs])
        return
    rows = []
    for config in configs:
        file = display_path(config.file) if config.file else "–"
        environments = ", ".join(config.environments) or "–"
        place = file if config.exists else f"{file} (missing)"
        rows.append((config.name, config.package, environments, place))
    output.print_table(rows, header=("workflow", "package", "environments", "config"))


@config_group.command("show")
@options.name_argument
@click.option("--origins", is_flag=True, help="Say where each value comes from: layer, file, line.")
@options.env_option
@options.set_option
@options.json_option
def show_command(*, name: str, origins: bool, as_json: bool, **layers: Any) -> None:
    """Show what a run would use: every value of every layer, secrets masked.

    \b
    Examples:
      dataflow-runtime config show my_workflow --origins
      dataflow-runtime config show my_workflow --env prod --json
    """
    from dataflow_runtime.config import config_manager

    output.warn_of_environment()
    with output.quiet_stdout():
        effective = config_manager.show(name, **layers)
    if as_json:
        shown = asdict(effective)
        output.print_json(shown if origins else {**shown, "origins": None})
        return
    lines = [*_yaml_lines(effective.config)]
    width = min(max((len(text) for text, _ in lines), default=0), 60)
    for text, key in lines:
        line = output.clean(text)
        if origins and key:
            line = f"{line:<{width}}  {output.styled(f'# {effective.origins[key]}', dim=True)}"
        output.echo(line)


@config_group.command("validate")
@options.names_argument
@options.env_option
@options.set_option
@options.json_option
def validate_command(*, names: Sequence[str], as_json: bool, **layers: Any) -> int:
    """Validate configurations, of all workflows when no name is given.

    Exit code 1 if any is not valid.

    \b
    Examples:
      dataflow-runtime config validate
      dataflow-runtime config validate my_workflow --env prod
    """
    from dataflow_runtime.config import config_manager

    output.warn_of_environment()
    known = names or [config.name for config in config_manager.list_configs()]
    with output.quiet_stdout(), output.Progress("validating"):
        checked = [config_manager.check(name, **layers) for name in dict.fromkeys(known)]
    if as_json:
        output.print_json([_checked_json(config) for config in checked])
    else:
        _print_checked(checked)
    return int(not all(config.valid for config in checked))


@config_group.command("set")
@options.name_argument
@click.argument(
    "texts", metavar="KEY=VALUE...", nargs=-1, required=True, shell_complete=options.complete_keys
)
@click.option("--file", type=click.Path(path_type=Path), help="Edit this file, e.g. an overlay.")
@click.option("--installed", is_flag=True, help="Edit an installed copy, which upgrades replace.")
@click.option("--force", is_flag=True, help="Replace a value that the file takes from a variable.")
def set_command(
    *, name: str, texts: Sequence[str], file: Path | None, installed: bool, force: bool
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

    values = options.key_values(texts, "expected KEY=VALUE")
    if file is None and not installed:
        _refuse_installed_copy(config_manager.config_file(name))
    with output.quiet_stdout():
        edited = config_manager.set_values(name, values, file=file, force=force)
    output.echo(output.clean(f"{display_path(edited)}: set {', '.join(values)}"))


def _refuse_installed_copy(file: Path) -> None:
    if {"site-packages", "dist-packages"} & set(file.parts):
        raise UsageError(
            f"{file} is an installed copy, which the next upgrade of the package replaces",
            hint="`pip install -e` the checkout, name its file with --file, or give --installed",
        )


@config_group.command("schema")
@click.argument("name", required=False, shell_complete=options.complete_workflows)
def schema_command(*, name: str | None) -> None:
    """Print the JSON Schema of config.yaml, of NAME's own model if it brings one. For editors."""
    from dataflow_runtime.config import WorkflowConfig, config_manager
    from dataflow_runtime.config.schema import config_schema

    with output.quiet_stdout():
        if name is not None:
            config_manager.config_file(name)
        schema = config_schema(config_manager.model_of(name) if name else WorkflowConfig)
    output.print_json(schema)


def _checked_json(config: CheckedConfig) -> dict[str, Any]:
    return {
        "name": config.name,
        "valid": config.valid,
        "errors": [problem.as_dict() for problem in config.problems],
        "warnings": [problem.as_dict() for problem in config.warnings],
    }


def _print_checked(checked: Sequence[CheckedConfig]) -> None:
    from dataflow_runtime.config.problems import render_problem

    for config in checked:
        word = "valid" if config.valid else "invalid"
        output.echo(f"{output.status(word, 7)}  {output.clean(config.name)}")
        for problem in (*config.problems, *config.warnings):
            prefix = "" if problem in config.problems else output.status("warning") + ": "
            headline, _, others = render_problem(problem).partition("\n")
            output.echo(prefix + output.styled(headline, bold=True))
            if others:
                output.echo(output.clean(others))
    invalid = sum(not config.valid for config in checked)
    problems = output.plural(sum(len(config.problems) for config in checked), "problem")
    outcome = f"{invalid} invalid, {problems}" if invalid else "all valid"
    output.echo(f"{output.plural(len(checked), 'configuration')}: {outcome}")


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

    # JSON is YAML.
    return plain_or_quoted(value) if isinstance(value, str) else json.dumps(value)
