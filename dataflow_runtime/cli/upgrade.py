"""``upgrade``: ``copier update`` over many workflow checkouts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflow_runtime.cli.options import json_option
from dataflow_runtime.cli.outdated import folders_argument, open_templates
from dataflow_runtime.cli.output import print_json
from dataflow_runtime.errors import DataflowError

if TYPE_CHECKING:
    from dataflow_runtime.fleet.upgrade import Upgrade

__all__ = ["upgrade_command"]

_COLOURS = {"ready": "cyan", "upgraded": "green", "dirty": "yellow"}
_WORDS = {
    "dirty": "skipped",
    "ready": "would be upgraded",
    "conflicts": "has conflicts",
    "broken": "fails its check",
}
_FAILURES = {"conflicts", "broken", "failed"}


@click.command("upgrade")
@folders_argument
@click.option(
    "--branch", metavar="NAME", help="Name of the branches; by default template-<version>."
)
@click.option(
    "--apply", is_flag=True, help="Make the branches; without it, only say what would change."
)
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    show_default="processors",
    help="How many at a time.",
)
@json_option
@click.pass_context
def upgrade_command(
    ctx: click.Context,
    *,
    folders: Sequence[Path],
    branch: str | None,
    apply: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Bring workflow checkouts to the latest version of their template, each on a branch of its own.

    Every checkout below the folders; without any, below the working directory, and those installed as editable. Says
    what would change; with --apply, makes the branch and checks the workflow on it. Working trees are never touched.
    Exit code 1 if one has conflicts, fails its check, or cannot be upgraded.
    """
    templates = open_templates()
    if apply and find_spec("dagster") is None:
        hint = "pip install 'dataflow-runtime[run,fleet]'"
        raise DataflowError("upgrade --apply checks the workflows, which needs dagster", hint=hint)
    from dataflow_runtime.fleet.checkouts import find_checkouts, find_editable
    from dataflow_runtime.fleet.upgrade import upgrade_fleet

    editable = [] if folders else find_editable()
    found = {
        checkout.path: checkout for checkout in [*editable, *find_checkouts(folders or [Path()])]
    }
    upgrades = []
    for upgrade in upgrade_fleet(
        [found[path] for path in sorted(found)], templates, branch=branch, apply=apply, jobs=jobs
    ):
        upgrades.append(upgrade)
        if not as_json:
            _print(upgrade)
    if as_json:
        print_json([upgrade.to_json() for upgrade in upgrades])
    else:
        _print_summary(upgrades, apply)
    if any(upgrade.outcome in _FAILURES for upgrade in upgrades):
        ctx.exit(1)


def _print(upgrade: Upgrade) -> None:
    from dataflow_runtime.config.problems import display_path

    colour = "red" if upgrade.outcome in _FAILURES else _COLOURS.get(upgrade.outcome)
    word = click.style(_WORDS.get(upgrade.outcome, upgrade.outcome), fg=colour)
    # The same where it is current, the second one not known where it failed.
    versions = " → ".join(dict.fromkeys(filter(None, (upgrade.version, upgrade.latest)))) or "–"
    error = f": {upgrade.error}" if upgrade.error else ""
    click.echo(
        f"{click.style(upgrade.workflow, bold=True)}  {versions}  {word}{error}  ({display_path(upgrade.path)})"
    )
    for line in upgrade.stat.splitlines():
        click.echo(f"  {line.strip()}")
    for file in upgrade.conflicts:
        click.secho(f"  conflict: {file}", fg="red")
    for problem in upgrade.problems:
        click.secho(f"  {problem}", fg="red")
    for problem in upgrade.problems_before:
        click.secho(f"  as before: {problem}", fg="yellow")


def _print_summary(upgrades: Sequence[Upgrade], apply: bool) -> None:
    if not upgrades:
        click.echo("no workflow checkout is found", err=True)
        return
    counts = Counter(_WORDS.get(upgrade.outcome, upgrade.outcome) for upgrade in upgrades)
    parts = ", ".join(f"{count} {word}" for word, count in counts.items())
    click.echo(f"{len(upgrades)} checkout{'s' if len(upgrades) != 1 else ''}: {parts}")
    branches = sorted({upgrade.branch for upgrade in upgrades if upgrade.branch})
    if branches and apply:
        click.echo(
            f"look at one with `git switch {branches[0]}`; no working tree was touched", err=True
        )
    elif branches:
        click.echo(
            "nothing was changed; `dataflow-runtime upgrade --apply` makes the branches", err=True
        )
