"""``adopt``: makes a workflow that was written by hand known to the template."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflow_runtime.cli.failures import require
from dataflow_runtime.cli.options import json_option, key_values
from dataflow_runtime.cli.output import announced_home, clean, echo, print_json, styled

if TYPE_CHECKING:
    from dataflow_runtime.fleet.adopt import Adoption

__all__ = ["adopt_command"]


def _answers(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    return key_values(texts, "--data", "source_type=api")


@click.command("adopt")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--template", metavar="URL", required=True, help="The template's path or git URL.")
@click.option(
    "answers",
    "--data",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_answers,
    help="Answer a question of the template; can be given several times.",
)
@click.option("--defaults", is_flag=True, help="Ask nothing: what is not given is guessed.")
@click.option("--examples", is_flag=True, help="Add missing files of src/ and tests/ too.")
@click.option("--branch", metavar="NAME", help="Name of the branch; by default adopt-<version>.")
@click.option("--diff", is_flag=True, help="Print how each kept file differs from the template.")
@json_option
def adopt_command(
    *,
    folder: Path,
    template: str,
    answers: Mapping[str, str],
    defaults: bool,
    examples: bool,
    branch: str | None,
    diff: bool,
    as_json: bool,
) -> None:
    """Make a workflow that was written by hand known to the template, on a branch of its own.

    The branch gets the answers file and the files that are missing; what is there is kept, and
    compared with the template file by file. From then on `outdated` and `upgrade` know it. The
    working tree is not touched.

    \b
    Example:
      dataflow-runtime adopt ~/workflows/orders --template gh:org/dataflow-template
    """
    require("fleet")
    from dataflow_runtime.fleet.adopt import adopt
    from dataflow_runtime.fleet.template import Template

    source = template if "://" in template or not Path(template).exists() else ""
    found = adopt(
        folder.resolve(),
        Template(source or str(Path(template).resolve()), announced_home().home / "templates"),
        answers=answers,
        ask=not defaults and not as_json and sys.stdin.isatty(),
        branch=branch,
        examples=examples,
    )
    if as_json:
        print_json(asdict(found))
    else:
        _print(found, diff)


def _print(found: Adoption, diff: bool) -> None:
    from dataflow_runtime.config.problems import display_path

    where = clean(f"on branch {found.branch}  ({display_path(found.path)})")
    done = styled("adopted", fg="green")
    echo(f"{styled(found.workflow, bold=True)}  {clean(found.version)}  {done} {where}")
    for question, answer in found.answers.items():
        echo(clean(f"  answer: {question} = {answer}"))
    for file in found.added:
        echo(styled(f"  added: {file}", fg="green"))
    for file in found.same:
        echo(clean(f"  the same: {file}"))
    for file, text in found.differs.items():
        lines = text.splitlines()[2:]
        more, fewer = (sum(line.startswith(sign) for line in lines) for sign in "+-")
        echo(styled(f"  kept, differs: {file} (+{more} -{fewer} lines)", fg="yellow"))
        if diff:
            echo(clean(text))
    for file in found.left_out:
        echo(clean(f"  left out: {file}"))
    if found.left_out:
        echo("left out are the template's examples; --examples adds them", err=True)
    echo(clean(f"look at it with `git switch {found.branch}`, then merge it"), err=True)
