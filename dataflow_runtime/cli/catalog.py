"""``list`` and ``show``: what can be said of workflows without importing them."""

from __future__ import annotations

import click

from dataflow_runtime.cli.output import json_option, print_json, print_table

__all__ = ["list_command", "show_command"]

_STYLES = {"ok": "green", "unknown": "yellow", "broken": "red"}


@click.command("list")
@click.option("--tag", help="Only workflows with this tag.")
@click.option("--owner", help="Only workflows of this owner.")
@json_option
def list_command(*, tag: str | None, owner: str | None, as_json: bool) -> None:
    """List the installed workflows. Reads their source and imports none of it."""
    from dataflow_runtime.orchestration.listing import list_workflows

    workflows = list_workflows(tag=tag, owner=owner)
    if as_json:
        print_json([workflow.to_json() for workflow in workflows])
        return
    if not workflows:
        click.echo("no workflow matches" if tag or owner else "no workflow is installed", err=True)
        return
    print_table(
        [
            (
                workflow.name,
                workflow.version,
                _plain(workflow.owner),
                _plain(workflow.schedule),
                _plain(workflow.tags),
                workflow.status,
                _plain(workflow.error or workflow.description).replace("\n", " "),
            )
            for workflow in workflows
        ],
        header=("workflow", "version", "owner", "schedule", "tags", "status", "description"),
        styles=_STYLES,
    )


@click.command("show")
@click.argument("name")
@json_option
def show_command(*, name: str, as_json: bool) -> None:
    """Show one workflow: metadata, paths, config summary, dbt models, last run."""
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
    return "–" if value is None else str(value)
