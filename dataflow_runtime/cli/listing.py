"""``list`` and ``show``: what is known of workflows without importing them."""

from __future__ import annotations

import click

from dataflow_runtime.cli import options, output


@click.command("list")
@click.option("--tag", help="Only workflows with this tag.")
@click.option("--owner", help="Only workflows of this owner.")
@options.json_option
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
        output.print_json([workflow.to_json() for workflow in workflows])
        return
    if not workflows:
        output.echo("no workflow matches" if tag or owner else "no workflow is installed", err=True)
        return
    rows = []
    for workflow in workflows:
        cells = (workflow.version, workflow.owner, workflow.schedule, workflow.tags)
        about = workflow.error or workflow.description
        rows.append([workflow.name, *map(_plain, (*cells, workflow.status, about))])
    header = ("workflow", "version", "owner", "schedule", "tags", "status", "description")
    output.print_table(rows, header=header)


@click.command("show")
@options.name_argument
@options.json_option
def show_command(*, name: str, as_json: bool) -> None:
    """Show one workflow: metadata, paths, config summary, dbt models, last run.

    \b
    Example:
      dataflow-runtime show my_workflow
    """
    from dataflow_runtime.orchestration.listing import show_workflow

    details = show_workflow(name)
    if as_json:
        output.print_json(details)
        return
    rows = []
    for key, value in details.items():
        text = _plain(value)
        if isinstance(value, dict):
            text = "\n".join(f"{inner}: {_plain(found)}" for inner, found in value.items())
        rows.append((key.replace("_", " "), text or "–"))
    output.print_table(rows)


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else " ".join(str(value).split())
