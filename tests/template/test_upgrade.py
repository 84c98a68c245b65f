"""`dataflow-runtime upgrade`: a branch for each checkout, nothing half done, nothing lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime.fleet.checkouts import find_checkouts
from dataflow_runtime.fleet.status import compare
from dataflow_runtime.fleet.upgrade import upgrade_fleet

Render = Callable[..., Path]
Git = Callable[..., str]
Commit = Callable[[Path], Path]


@pytest.fixture
def old(render: Render, releases: Path, commit: Commit, fleet: Path) -> Callable[..., Path]:
    """Return a function that makes a committed checkout of the first release."""
    return lambda name, **answers: commit(
        render(fleet / name, source=releases, vcs_ref="v0.1.0", **answers)
    )


@pytest.fixture
def latest(releases: Path, git: Git) -> str:
    return git(releases, "tag", "--list").split()[-1]


def upgrade(
    site: Any, *arguments: str | Path, code: int, **environ: str
) -> dict[str, dict[str, Any]]:
    run = site.run("upgrade", *arguments, "--json", timeout=600, **environ)
    assert run.returncode == code, run.stdout + run.stderr
    return {row["workflow"]: row for row in json.loads(run.stdout)}


def state(workflow: Path, git: Git) -> tuple[str, ...]:
    """Return all that an upgrade might change in a repository, objects that nothing names aside."""
    commands = (
        "for-each-ref",
        "status --porcelain --ignored",
        "worktree list --porcelain",
        "stash list",
        "remote -v",
    )
    return tuple(
        git(workflow, *command.split())
        for command in (*commands, "rev-parse HEAD", "config --local --list")
    )


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    site: Any, old: Callable[..., Path], git: Git, fleet: Path, latest: str
) -> None:
    workflow = old("orders")
    before = state(workflow, git)
    run = site.run("upgrade", fleet)
    assert run.returncode == 0
    assert f"orders  v0.1.0 → {latest}  would be upgraded" in run.stdout
    assert re.search(r"\n  \.pre-commit-config\.yaml +\| +\d+ \++\n", run.stdout)
    assert re.search(r"\n  \d+ files changed, \d+ insertions", run.stdout)
    assert "1 checkout: 1 would be upgraded" in run.stdout
    assert "nothing was changed" in run.stderr
    assert state(workflow, git) == before
    assert upgrade(site, fleet, code=0)["orders"]["outcome"] == "ready"


@pytest.mark.e2e
def test_apply_makes_a_branch_whose_check_passes(
    site: Any, old: Callable[..., Path], git: Git, fleet: Path, latest: str
) -> None:
    workflow = old("orders")
    readme = workflow / "README.md"
    readme.write_text(readme.read_text() + "\nOurs.\n")
    git(workflow, "commit", "--quiet", "--all", "--message", "Ours")
    before = state(workflow, git)

    row = upgrade(site, fleet, "--apply", code=0)["orders"]

    branch = f"template-{latest}"
    assert (row["outcome"], row["branch"], row["problems"], row["conflicts"]) == (
        "upgraded",
        branch,
        [],
        [],
    )
    refs, *rest = state(workflow, git)
    assert rest == list(before[1:]), "the checkout itself must stay as it was"
    assert [line.split("\t")[1] for line in refs.splitlines()] == [
        "refs/heads/main",
        f"refs/heads/{branch}",
    ]
    assert git(workflow, "rev-list", "--count", f"main..{branch}") == "1"
    who = git(workflow, "var", "GIT_AUTHOR_IDENT").partition(" <")[
        0
    ]  # the environment's, before the checkout's
    assert git(workflow, "show", "--no-patch", "--format=%an %s", branch) == (
        f"{who} Update the template of orders from v0.1.0 to {latest}"
    )
    assert f"_commit: {latest}" in git(workflow, "show", f"{branch}:.copier-answers.yml")
    assert git(workflow, "show", f"{branch}:README.md").endswith("Ours.")

    again = upgrade(site, fleet, "--apply", code=0)["orders"]
    assert again == row
    assert state(workflow, git)[0] == refs

    git(workflow, "merge", "--quiet", branch)
    assert upgrade(site, fleet, "--apply", code=0)["orders"]["outcome"] == "current"


@pytest.mark.e2e
def test_a_branch_whose_check_finds_something_new_is_reported(
    site: Any, render: Render, own_releases: Path, commit: Commit, git: Git, fleet: Path
) -> None:
    workflow = render(fleet / "orders", source=own_releases, vcs_ref="v0.1.0")
    (workflow / ".env").write_text("DATAFLOW__ORDERS__PROCESSING__BATCH_SIZE=7\n")  # read, and fine
    commit(workflow)
    broken = commit(
        render(fleet / "visits", source=own_releases, vcs_ref="v0.1.0", source_type="api")
    )
    transform = own_releases / "template" / "src" / "{{ workflow_name }}" / "transform.py"
    transform.write_text(transform.read_text() + "\nimport no_such_module  # noqa\n")
    commit(own_releases)
    git(own_releases, "tag", "v9.0.0")

    found = upgrade(site, fleet, "--apply", code=1)

    assert found["orders"]["outcome"] == "broken"
    assert "src/orders/transform.py" in found["orders"]["problems"][0]
    assert "No module named 'no_such_module'" in found["orders"]["problems"][0]
    assert git(workflow, "rev-parse", "--verify", "template-v9.0.0")
    # Its URL is not set, before as after; that it cannot be imported any more is new.
    assert found["visits"]["outcome"] == "broken"
    assert len(found["visits"]["problems"]) == 1
    assert "VISITS_API_URL is not set" in found["visits"]["problems_before"][0]
    assert found["orders"]["problems_before"] == []
    assert git(broken, "rev-parse", "--verify", "template-v9.0.0")


def test_conflicts_are_named_and_left_on_the_branch(
    site: Any, old: Callable[..., Path], git: Git, commit: Commit, fleet: Path
) -> None:
    workflow = old("visits", source_type="api")
    config = workflow / "src" / "visits" / "config.yaml"
    replace(config, "retries: 5 # of a request", "retries: 8 # of a slow request")
    commit(workflow)

    assert upgrade(site, fleet, code=1)["visits"]["outcome"] == "conflicts"
    assert git(workflow, "branch", "--list") == "* main"
    row = upgrade(site, fleet, "--apply", "--branch", "up", code=1)["visits"]

    assert (row["outcome"], row["conflicts"], row["branch"]) == (
        "conflicts",
        ["src/visits/config.yaml"],
        "up",
    )
    text = git(workflow, "show", "up:src/visits/config.yaml")
    assert "<<<<<<< before updating" in text
    assert "    retries: 8 # of a slow request" in text
    assert git(workflow, "status", "--porcelain") == ""
    assert "    retries: 8 # of a slow request" in config.read_text()

    run = site.run("upgrade", fleet, "--apply", "--branch", "up")
    assert run.returncode == 1
    assert "visits  v0.1.0 → " in run.stdout
    assert "  conflict: src/visits/config.yaml\n" in run.stdout

    git(workflow, "switch", "--quiet", "up")
    config.write_text(
        re.sub(r"<<<<<<<.*?=======\n(.*?)>>>>>>> [^\n]*\n", r"\1", text, flags=re.DOTALL) + "\n"
    )
    commit(workflow)
    git(workflow, "switch", "--quiet", "main")
    assert upgrade(site, fleet, "--branch", "up", code=0)["visits"]["outcome"] == "ready"


def test_an_edited_file_that_the_template_drops_is_kept_and_named(
    site: Any, render: Render, own_releases: Path, commit: Commit, git: Git, fleet: Path
) -> None:
    workflow = render(fleet / "orders", source=own_releases, vcs_ref="v0.1.0")
    edited, untouched = (
        workflow / "src/orders/transform.py",
        workflow / "src/orders/evidence/components/Share.svelte",
    )
    edited.write_text(edited.read_text() + "# ours\n")
    commit(workflow)
    for path in (own_releases / "template/src/{{ workflow_name }}").rglob("*"):
        if path.name in (edited.name, untouched.name):
            path.unlink()
    commit(own_releases)
    git(own_releases, "tag", "v9.0.0")

    row = upgrade(site, fleet, "--apply", code=1)["orders"]

    assert (row["outcome"], row["conflicts"]) == ("conflicts", ["src/orders/transform.py"])
    assert git(workflow, "show", "template-v9.0.0:src/orders/transform.py").endswith("# ours")
    assert "Share.svelte" not in git(workflow, "ls-tree", "-r", "--name-only", "template-v9.0.0")


def test_what_cannot_be_upgraded_is_left_alone_and_said_so(
    site: Any,
    old: Callable[..., Path],
    render: Render,
    releases: Path,
    git: Git,
    commit: Commit,
    fleet: Path,
) -> None:
    dirty = old("dirty")
    (dirty / "new.py").touch()
    assert upgrade(site, fleet, code=0)["dirty"]["outcome"] == "dirty"
    current = commit(render(fleet / "current", source=releases, vcs_ref=None))
    render(fleet / "no_git", source=releases, vcs_ref="v0.1.0")
    (fleet / ".gitignore").write_text("ignored/\n")
    taken = old("taken")
    git(taken, "branch", "mine")
    broken = old("broken")
    (broken / ".copier-answers.yml").write_text("- 1\n")
    commit(broken)
    before = {workflow: state(workflow, git) for workflow in (dirty, current, taken, broken)}

    found = upgrade(site, fleet, "--branch", "mine", code=1)

    assert {name: row["outcome"] for name, row in found.items()} == {
        "dirty": "dirty",
        "current": "current",
        "no_git": "failed",
        "taken": "failed",
        "broken": "failed",
    }
    assert found["dirty"]["error"] == "it has changes that are not committed"
    assert "not a git repository" in found["no_git"]["error"]
    assert found["taken"]["error"].startswith(
        "there is a branch mine that does not hold this upgrade: delete it, or"
    )
    assert "expected a mapping of answers" in found["broken"]["error"]
    assert {workflow: state(workflow, git) for workflow in before} == before
    assert "dirty  v0.1.0 → " in site.run("upgrade", fleet / "dirty").stdout


def test_workflows_of_one_repository_get_a_branch_each(
    site: Any, render: Render, releases: Path, git: Git, commit: Commit, fleet: Path, latest: str
) -> None:
    for name in ("orders", "visits"):
        render(fleet / "workflows" / name, source=releases, vcs_ref="v0.1.0")
    (fleet / "ignored").mkdir()
    (fleet / ".gitignore").write_text("/ignored/\n")
    commit(fleet)
    render(fleet / "ignored" / "draft", source=releases, vcs_ref="v0.1.0")
    # The check is that of the other tests; here it is where the branches lead.
    compared = compare(find_checkouts([fleet]), site.home / "t")
    rows = {row.workflow: row for row in upgrade_fleet(compared, branch="up", apply=False, jobs=2)}
    assert {name: row.outcome for name, row in rows.items()} == {
        "orders": "ready",
        "visits": "ready",
        "draft": "failed",
    }
    assert rows["draft"].error == ".copier-answers.yml is not committed in its git repository"
    assert (rows["orders"].branch, rows["visits"].branch) == ("up-orders", "up-visits")
    assert all(
        line.startswith(" workflows/orders/") for line in rows["orders"].stat.splitlines()[:-1]
    )


@pytest.mark.e2e
def test_a_workflow_below_the_root_of_its_repository_is_upgraded(
    site: Any, render: Render, releases: Path, git: Git, commit: Commit, fleet: Path, latest: str
) -> None:
    orders = render(fleet / "workflows" / "orders", source=releases, vcs_ref="v0.1.0")
    (fleet / "README.md").write_text("All of ours.\n")
    commit(fleet)
    row = upgrade(site, orders, "--apply", code=0)["orders"]
    assert (row["outcome"], row["branch"]) == ("upgraded", f"template-{latest}-orders")
    changed = git(fleet, "diff", "--name-only", "main", row["branch"]).splitlines()
    assert "workflows/orders/.pre-commit-config.yaml" in changed
    assert all(name.startswith("workflows/orders/") for name in changed)


def test_a_linked_worktree_is_a_checkout_like_any_other(
    site: Any, old: Callable[..., Path], git: Git, tmp_path: Path
) -> None:
    git(old("orders"), "worktree", "add", "--quiet", "-b", "side", tmp_path / "side")
    assert upgrade(site, tmp_path / "side", code=0)["orders"]["outcome"] == "ready"


@pytest.mark.e2e
def test_killed_at_any_moment_nothing_is_half_done_and_a_second_call_goes_on(
    site: Any, old: Callable[..., Path], git: Git, fleet: Path, tmp_path: Path, latest: str
) -> None:
    workflows = [old("orders"), old("visits")]
    before = [state(workflow, git) for workflow in workflows]
    moments: list[Callable[[Path], bool]] = [
        lambda folder: any(folder.glob("dataflow-upgrade-*/clone")),
        lambda folder: any(folder.glob("copier*")),
        lambda folder: any("Update the template" in git(clone, "log") for clone in _clones(folder)),
    ]
    for number, reached in enumerate(moments):
        temporary = tmp_path / f"temporary {number}"
        temporary.mkdir()
        process = site.start("upgrade", str(fleet), "--apply", "--jobs", "1", TMPDIR=str(temporary))
        deadline = time.monotonic() + 120
        while not reached(temporary):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert [state(workflow, git) for workflow in workflows] == before

    found = upgrade(site, fleet, "--apply", code=0)
    assert {row["outcome"] for row in found.values()} == {"upgraded"}
    for workflow in workflows:
        assert git(workflow, "rev-list", "--count", f"main..template-{latest}") == "1"


def _clones(folder: Path) -> list[Path]:
    """Return the clones that have a commit checked out."""
    clones = folder.glob("dataflow-upgrade-*/clone")
    command = ["git", "rev-parse", "--verify", "HEAD"]
    return [
        clone
        for clone in clones
        if subprocess.run(command, cwd=clone, capture_output=True).returncode == 0
    ]


def test_many_at_once_are_all_upgraded_or_reported(
    site: Any, old: Callable[..., Path], git: Git, commit: Commit, fleet: Path
) -> None:
    """As the bench does with 50; without the check, which the tests above try."""
    for number in range(8):
        workflow = old(f"w{number:02}", source_type="api" if number % 3 == 0 else "mock")
        config = workflow / "src" / workflow.name / "config.yaml"
        if number % 6 == 0:
            replace(config, "retries: 5 # of a request", "retries: 8 # of a slow request")
        config.write_text(config.read_text() + f"# number {number}\n")
        commit(workflow)
        if number == 7:
            config.write_text(config.read_text() + "# not committed\n")

    compared = compare(find_checkouts([fleet]), site.home / "t")
    rows = list(upgrade_fleet(compared, branch=None, apply=False, jobs=4))

    assert [row.workflow for row in rows] == [f"w{number:02}" for number in range(8)]
    expected = {0: "conflicts", 6: "conflicts", 7: "dirty"}
    assert [row.outcome for row in rows] == [expected.get(number, "ready") for number in range(8)]


def test_a_dependency_beside_that_of_the_runtime_is_merged(
    site: Any, old: Callable[..., Path], commit: Commit, fleet: Path
) -> None:
    workflow = old("orders", runtime_source="index")
    project = workflow / "pyproject.toml"
    line = '    "dataflow-runtime[run]>=0.1.0,<0.2",\n'
    replace(project, line, f'{line}    "httpx>=0.27",\n')
    commit(workflow)
    row = upgrade(site, fleet, code=0)["orders"]
    assert (row["outcome"], row["conflicts"]) == ("ready", [])


def solve(file: Path, text: str) -> None:
    """Write a file with its conflicts solved for the owner's side."""
    conflict = r"<<<<<<<.*?\n(.*?)=======.*?>>>>>>> [^\n]*\n"
    file.write_text(re.sub(conflict, r"\1", text + "\n", flags=re.DOTALL))


def test_a_conflict_stays_one_until_it_is_solved_and_committed(
    site: Any, old: Callable[..., Path], git: Git, commit: Commit, fleet: Path
) -> None:
    workflow = old("visits", source_type="api")
    config = workflow / "src" / "visits" / "config.yaml"
    replace(config, "retries: 5 # of a request", "retries: 8 # of a slow request")
    commit(workflow)

    for _ in range(2):
        row = upgrade(site, fleet, "--apply", "--branch", "up", code=1)["visits"]
        assert (row["outcome"], row["conflicts"]) == ("conflicts", ["src/visits/config.yaml"])
    message = git(workflow, "show", "--no-patch", "--format=%B", "up")
    assert message.endswith("\n\nConflict: src/visits/config.yaml")

    git(workflow, "switch", "--quiet", "up")
    (workflow / "notes.md").write_text("Not yet.\n")
    commit(workflow)
    assert upgrade(site, fleet, code=1)["visits"]["outcome"] == "conflicts"
    git(workflow, "switch", "--quiet", "main")
    assert upgrade(site, fleet, "--branch", "up", code=1)["visits"]["outcome"] == "conflicts"
    git(workflow, "merge", "--quiet", "up")
    row = upgrade(site, fleet, code=1)["visits"]
    assert (row["outcome"], row["conflicts"]) == ("conflicts", ["src/visits/config.yaml"])
    solve(config, config.read_text())
    assert upgrade(site, fleet, code=1)["visits"]["outcome"] == "conflicts"
    commit(workflow)
    assert upgrade(site, fleet, code=0)["visits"]["outcome"] == "current"


def drop(template: Path, *names: str) -> None:
    """Remove files from a template."""
    for path in (template / "template/src/{{ workflow_name }}").rglob("*"):
        if path.name in names:
            path.unlink()


def test_a_conflict_without_markers_is_not_forgotten_either(
    site: Any, render: Render, own_releases: Path, commit: Commit, git: Git, fleet: Path
) -> None:
    workflow = render(fleet / "orders", source=own_releases, vcs_ref="v0.1.0")
    with (workflow / "src/orders/transform.py").open("a") as file:
        file.write("# ours\n")
    commit(workflow)
    drop(own_releases, "transform.py")
    git(commit(own_releases), "tag", "v9.0.0")

    for _ in range(2):
        row = upgrade(site, fleet, "--apply", code=1)["orders"]
        assert (row["outcome"], row["conflicts"]) == ("conflicts", ["src/orders/transform.py"])
    git(workflow, "switch", "--quiet", "template-v9.0.0")
    git(workflow, "commit", "--quiet", "--allow-empty", "--message", "Keep the transform")
    git(workflow, "switch", "--quiet", "main")
    assert upgrade(site, fleet, code=0)["orders"]["outcome"] == "ready"


def test_a_dropped_file_that_the_owner_uses_is_a_conflict(
    site: Any, render: Render, own_releases: Path, commit: Commit, git: Git, fleet: Path
) -> None:
    for name in ("orders", "visits"):
        workflow = render(fleet / name, source=own_releases, vcs_ref="v0.1.0")
        if name == "orders":
            page = workflow / "src/orders/evidence/regions.md"
            page.write_text("<script>import S from '$lib/orders/Share.svelte'</script>\n<S/>\n")
        commit(workflow)
    drop(own_releases, "Share.svelte")
    git(commit(own_releases), "tag", "v9.0.0")

    found = upgrade(site, fleet, code=1)

    component = "src/orders/evidence/components/Share.svelte"
    assert (found["orders"]["outcome"], found["orders"]["conflicts"]) == ("conflicts", [component])
    assert found["visits"]["outcome"] == "ready"
    assert "Share.svelte" in found["visits"]["stat"]


def test_worktrees_of_one_repository_get_a_branch_each(
    site: Any, old: Callable[..., Path], git: Git, commit: Commit, fleet: Path
) -> None:
    workflow = old("orders")
    side = fleet / "side"
    git(workflow, "worktree", "add", "--quiet", "-b", "side", side)
    with (side / "README.md").open("a") as file:
        file.write("\nOf the side.\n")
    git(side, "commit", "--quiet", "--all", "--message", "Side")

    compared = compare(find_checkouts([fleet]), site.home / "t")
    rows = list(upgrade_fleet(compared, branch="up", apply=False, jobs=2))
    assert [(row.outcome, row.branch) for row in rows] == [("ready", "up"), ("ready", "up-side")]


@pytest.mark.e2e
def test_signed_commits_line_ends_and_the_environment_of_a_hook_do_no_harm(
    site: Any, old: Callable[..., Path], git: Git, fleet: Path, tmp_path: Path
) -> None:
    workflow = old("orders")
    before = state(workflow, git)
    settings = tmp_path / "gitconfig"
    settings.write_text(
        "[user]\nname = t\nemail = t@example.com\nsigningkey = none\n"
        "[commit]\ngpgsign = true\n[core]\nautocrlf = true\n"
    )
    other = tmp_path / "other"
    git(tmp_path, "init", "--quiet", other)
    hook = {"GIT_DIR": str(other / ".git"), "GIT_INDEX_FILE": str(other / "index")}
    hook |= {"GIT_WORK_TREE": str(other), "GIT_PREFIX": "x/"}

    row = upgrade(site, fleet, "--apply", code=0, GIT_CONFIG_GLOBAL=str(settings), **hook)["orders"]

    assert (row["outcome"], row["conflicts"]) == ("upgraded", [])
    assert state(workflow, git)[1:] == before[1:]
    assert git(other, "for-each-ref") == ""
    # Where git writes CRLF into working trees, a checkout is no more edited than elsewhere.
    git(workflow, "-c", "core.autocrlf=true", "clone", "--quiet", ".", fleet / "windows")
    windows = fleet / "windows"
    git(windows, "config", "core.autocrlf", "true")
    assert b"\r\n" in (windows / "README.md").read_bytes()
    assert upgrade(site, windows, code=0)["orders"]["conflicts"] == []


def test_a_template_that_has_moved_is_followed(
    site: Any, render: Render, own_releases: Path, commit: Commit, git: Git, tmp_path: Path
) -> None:
    fleet = tmp_path / "fleet"
    orders = commit(render(fleet / "orders", source=own_releases, vcs_ref="v0.1.0"))
    moved = own_releases.rename(tmp_path / "elsewhere")

    row = upgrade(site, fleet, code=1)["orders"]
    assert row["outcome"] == "failed"
    assert f"the template {own_releases} cannot be fetched: " in row["error"]
    assert "does not exist" in row["error"] or "does not appear to be" in row["error"]
    assert row["error"].endswith("(if it has moved, `upgrade --template` says where to)")

    compared = compare(find_checkouts([fleet]), site.home / "t", str(moved))
    (found,) = upgrade_fleet(compared, branch="up", apply=True, jobs=1)
    assert (found.conflicts, found.error) == ((), None)
    assert git(orders, "rev-list", "--count", "main..up") == "1"
    assert str(own_releases) not in git(orders, "show", "up:pyproject.toml")
    assert f"_src_path: {moved}" in git(orders, "show", "up:.copier-answers.yml")
    assert f"The template is at {moved} now." in git(orders, "show", "--no-patch", "up")


def test_a_drifted_file_is_reset_on_the_branch(
    site: Any, old: Callable[..., Path], git: Git, fleet: Path, latest: str, commit: Commit
) -> None:
    workflow = old("orders")
    for name in ("README.md", "src/orders/config.yaml"):
        file = workflow / name
        file.write_text("# mine\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    commit(workflow)
    row = upgrade(site, fleet, "--apply", "--reset", "README.md", code=0)["orders"]
    assert (row["outcome"], row["branch"]) == ("upgraded", f"template-{latest}")
    show = "show", f"template-{latest}:"
    assert not git(workflow, show[0], f"{show[1]}README.md").startswith("# mine")
    assert git(workflow, show[0], f"{show[1]}src/orders/config.yaml").startswith("# mine")
    assert "Reset: README.md" in git(workflow, "log", "-1", "--format=%B", f"template-{latest}")
    assert (workflow / "README.md").read_text(encoding="utf-8").startswith("# mine")

    # Also where the template has nothing new.
    git(workflow, "switch", "--quiet", f"template-{latest}")
    options = ("--apply", "--branch", "clean", "--reset", "src/orders/config.yaml")
    row = upgrade(site, fleet, *options, code=0)["orders"]
    assert (row["outcome"], row["branch"]) == ("upgraded", "clean")
    assert git(workflow, "diff", "--name-only", "HEAD", "clean") == "src/orders/config.yaml"


def test_only_a_file_of_the_template_that_differs_is_reset(
    site: Any, old: Callable[..., Path], fleet: Path
) -> None:
    old("orders")
    for name in ("absent.txt", "../outside"):
        row = upgrade(site, fleet, "--reset", name, code=1)["orders"]
        assert row["error"] == f"the template renders no file {name!r} for it"
    row = upgrade(site, fleet, "--reset", "README.md", code=1)["orders"]
    assert row["error"] == "nothing to reset: README.md is as the template renders it"
