"""The template's life in many checkouts. What has no peer is compared with a limit in seconds."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from dataflow_runtime.fleet.template import render as render_template
from tests.bench.common import PYTHON, RUNTIME, Bench, Ratio, compared, environ, seconds
from tests.template.release import copy_template

ROOT = Path(__file__).parents[2]


def environment_of(folder: Path) -> Mapping[str, str]:
    """Return an environment with a home of its own, and a name to commit under."""
    who = {
        f"GIT_{role}_{what}": "bench@localhost"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    return environ(**who, DATAFLOW_HOME=folder / "home")


def git(folder: Path, *arguments: str) -> None:
    """Run git in a folder."""
    subprocess.run(
        ["git", *arguments], cwd=folder, env=environment_of(folder), check=True, capture_output=True
    )


def commit(folder: Path) -> Path:
    """Commit all of a folder."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Change")
    return folder


def fleet(folder: Path, count: int) -> Path:
    """Make `count` edited checkouts, committed, of a template with a newer release; return them."""
    template = commit(copy_template(folder / "template"))
    git(template, "tag", "v1.0.0")
    checkouts = folder / "checkouts"
    for number in range(count):
        workflow = checkouts / f"w{number:03}"
        render_template(str(template), "v1.0.0", {"workflow_name": workflow.name}, workflow)
        config = workflow / "src" / workflow.name / "config.yaml"
        config.write_text(config.read_text() + f"# edit {number}\n")
        if number == 7:  # the newer template changes this file too
            (workflow / "README.md").write_text("# Ours\n")
        commit(workflow)
    for name in ("README.md.jinja", "pyproject.toml.jinja"):
        file = template / "template" / name
        file.write_text("# moved on\n" + file.read_text())
    commit(template)
    git(template, "tag", "v1.1.0")
    return checkouts


def render(folder: Path) -> Ratio:
    """Rendering a workflow, from a git tag : `copier copy` of one file, from a git tag"""
    template = commit(copy_template(folder / "template"))
    bare = folder / "bare"
    bare.mkdir()
    (bare / "copier.yml").write_text("name:\n  type: str\n  default: orders\n")
    (bare / "README.md.jinja").write_text("# {{ name }}\n")
    for repository in (template, commit(bare)):
        git(repository, "tag", "v1.0.0")
    copier = [PYTHON, "-m", "copier", "copy", "--quiet", "--defaults", "--overwrite"]
    return compared(
        lambda: seconds([*copier, str(template), str(folder / "orders")], environment_of(folder)),
        lambda: seconds([*copier, str(bare), str(folder / "one")], environment_of(folder)),
    )


def outdated_100(folder: Path) -> Ratio:
    """`outdated` over 100 checkouts : `copier check-update` of one; 50 of these are 20 s"""
    checkouts = fleet(folder, 100)
    command = [RUNTIME, "outdated", str(checkouts), "--json"]
    one = [PYTHON, "-m", "copier", "check-update", "--quiet", str(checkouts / "w000")]
    pairs = [
        (
            seconds(command, environment_of(folder), code=1),
            seconds(one, environment_of(folder), code=2),
        )
        for _ in range(3)
    ]
    run = subprocess.run(
        command, env=environment_of(folder), capture_output=True, text=True, check=False
    )
    rows = [(row["behind"], row["edited"], row["error"]) for row in json.loads(run.stdout)]
    assert [row[0] for row in rows] == [1] * 100
    assert rows[99] == (1, ["src/w099/config.yaml"], None)
    return Ratio.of(pairs, note="100 rows")


def upgrade_50(folder: Path) -> Ratio:
    """`upgrade` of one of 50 checkouts, all at once : `copier update` of one, by hand"""
    checkouts = fleet(folder, 50)
    by_hand = shutil.copytree(checkouts / "w000", folder / "by_hand")
    update = [PYTHON, "-m", "copier", "update", "--quiet", "--defaults", str(by_hand)]
    before = seconds(update, environment_of(folder))
    command = [RUNTIME, "upgrade", str(checkouts), "--json"]
    start = time.perf_counter()
    run = subprocess.run(
        command, env=environment_of(folder), capture_output=True, text=True, check=False
    )
    each = (time.perf_counter() - start) / 50
    git(by_hand, "reset", "--quiet", "--hard")
    git(by_hand, "clean", "--quiet", "--force", "-d")
    alone = (before + seconds(update, environment_of(folder))) / 2
    outcomes = Counter(row["outcome"] for row in json.loads(run.stdout))
    assert outcomes == {"ready": 49, "conflicts": 1}, outcomes
    return Ratio(each, alone, each / alone, note="49 without conflicts, 1 with")


BENCHES: list[Bench] = [(render, 1.3), (outdated_100, 50.0), (upgrade_50, 1.5)]
