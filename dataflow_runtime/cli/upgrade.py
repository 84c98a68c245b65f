"""``upgrade``: ``copier update`` over many workflow checkouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflow_runtime.cli.failures import require
from dataflow_runtime.cli.options import json_option
from dataflow_runtime.cli.outdated import compare_checkouts, folders_argument, jobs_option
from dataflow_runtime.cli.output import Progress, clean, echo, plural, print_json, styled

if TYPE_CHECKING:
    from dataflow_runtime.fleet.upgrade import Upgrade

__all__ = ["upgrade_command"]

_COLORS = {"ready": "cyan", "upgraded": "green", "dirty": "yellow"}
_WORDS = {
    "dirty": "skipped",
    "ready": "would be upgraded",
    "conflicts": "has conflicts",
    "broken": "fails its check",
}
_FAILURES = {"conflicts", "broken", "failed"}


@click.command("upgrade")
@folders_argument
@click.option("--branch", metavar="NAME", help="Name of the branches; default template-<version>.")
@click.option("--template", metavar="URL", help="Where the template is now, if it has moved.")
@click.option(
    "--reset",
    metavar="FILE",
    multiple=True,
    help="Make this file of each checkout the template's again, as `outdated` names it.",
)
@click.option("--apply", is_flag=True, help="Make the branches; without it, show what changes.")
@jobs_option
@json_option
@click.pass_context
def upgrade_command(
    ctx: click.Context,
    *,
    folders: Sequence[Path],
    branch: str | None,
    template: str | None,
    reset: Sequence[str],
    apply: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Upgrade workflow checkouts to their template's latest version, each on its own branch.

    Looks at every checkout in and below the folders; without any, below the working directory and
    those installed as editable. Shows what would change; with --apply, makes the branches and
    checks the workflows on them. Working trees are never touched. Exit code 1 if one has conflicts,
    fails its check, or cannot be upgraded.

    \b
    Examples:
      dataflow-runtime upgrade ~/workflows
      dataflow-runtime upgrade ~/workflows/orders --apply
      dataflow-runtime upgrade ~/workflows --reset .pre-commit-config.yaml
    """
    if apply:
        require("run")
    compared = compare_checkouts(folders, editable=not folders, template=template)
    from dataflow_runtime.fleet.upgrade import upgrade_fleet

    upgrades = []
    with Progress("upgrading") as progress:
        for upgrade in upgrade_fleet(compared, branch=branch, apply=apply, jobs=jobs, reset=reset):
            upgrades.append(upgrade)
            if not as_json:
                _print(upgrade)
            progress.update(f"upgrading: {len(upgrades)} of {plural(len(compared), 'checkout')}")
    if as_json:
        print_json([asdict(upgrade) for upgrade in upgrades])
    elif upgrades:
        _print_summary(upgrades, apply)
    if any(upgrade.outcome in _FAILURES for upgrade in upgrades):
        ctx.exit(1)


def _print(upgrade: Upgrade) -> None:
    from dataflow_runtime.config.problems import display_path

    color = "red" if upgrade.outcome in _FAILURES else _COLORS.get(upgrade.outcome)
    outcome = styled(_WORDS.get(upgrade.outcome, upgrade.outcome), fg=color)
    # One version if it is current, or if the latest is unknown.
    versions = " → ".join(dict.fromkeys(filter(None, (upgrade.version, upgrade.latest)))) or "–"
    error = clean(f": {upgrade.error}" if upgrade.error else "")
    path = clean(f"({display_path(upgrade.path)})")
    echo(f"{styled(upgrade.workflow, bold=True)}  {clean(versions)}  {outcome}{error}  {path}")
    for line in upgrade.stat.splitlines():
        echo(clean(f"  {line.strip()}"))
    for file in upgrade.conflicts:
        echo(styled(f"  conflict: {file}", fg="red"))
    for problem in upgrade.problems:
        echo(styled(f"  {problem}", fg="red"))
    for problem in upgrade.problems_before:
        echo(styled(f"  as before: {problem}", fg="yellow"))


def _print_summary(upgrades: Sequence[Upgrade], apply: bool) -> None:
    counts = Counter(_WORDS.get(upgrade.outcome, upgrade.outcome) for upgrade in upgrades)
    parts = ", ".join(f"{count} {word}" for word, count in counts.items())
    echo(f"{plural(len(upgrades), 'checkout')}: {parts}")
    branches = sorted({upgrade.branch for upgrade in upgrades if upgrade.branch})
    if branches and apply:
        branch = clean(branches[0])
        echo(f"look at one with `git switch {branch}`; no working tree was touched", err=True)
    elif branches:
        echo("nothing was changed; `dataflow-runtime upgrade --apply` makes the branches", err=True)
