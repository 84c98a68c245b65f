"""``list`` and ``show``: what is known of workflows without importing them."""

from __future__ import annotations

import click

from dataflow_runtime.cli.options import json_option, name_argument
from dataflow_runtime.cli.output import echo, print_json, print_table

__all__ = ["list_command", "show_command"]

_STYLES = {"ok": "green", "unknown": "yellow", "broken": "red"}


@click.command("list")
@click.option("--tag", help="Only workflows with this tag.")
@click.option("--owner", help="Only workflows of this owner.")
@json_option
def list_command(*, tag: str | None, owner: str | None, as_json: bool) -> None:
    """List the installed workflows. Reads their source and imports none of it.

    \b
    Examples:
      dataflow-runtime list --tag finance
      dataflow-runtime list --json
    """
    from dataflow_runtime.orchestration.listing import list_workflows

    workflows = list_workflows(tag=tag, owner=owner)
    if as_json:
        print_json([workflow.to_json() for workflow in workflows])
        return
    if not workflows:
        echo("no workflow matches" if tag or owner else "no workflow is installed", err=True)
        return
    rows = []
    for workflow in workflows:
        about = workflow.error or workflow.description
        cells = (workflow.version, workflow.owner, workflow.schedule, workflow.tags)
        rows.append((workflow.name, *map(_plain, cells), workflow.status, _plain(about)))
    header = ("workflow", "version", "owner", "schedule", "tags", "status", "description")
    print_table(rows, header=header, styles=_STYLES)


@click.command("show")
@name_argument
@json_option
def show_command(*, name: str, as_json: bool) -> None:
    """Show one workflow: metadata, paths, config summary, dbt models, last run.

    \b
    Example:
      dataflow-runtime show my_workflow
    """
    from dataflow_runtime.orchestration.listing import show_workflow

    details = show_workflow(name)
    if as_json:
        print_json(details)
        return
    rows = []
    for key, value in details.items():
        if isinstance(value, dict):
            text = "\n".join(f"{inner}: {_plain(found)}" for inner, found in value.items())
        else:
            text = _plain(value)
        rows.append((key.replace("_", " "), text or "–"))
    print_table(rows, styles=_STYLES)


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else " ".join(str(value).split())
