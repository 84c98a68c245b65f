"""`dataflow-runtime outdated`: a row for each checkout, whatever state it is in."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime import __version__
from tests.template import release

Render = Callable[..., Path]
Git = Callable[..., str]
Commit = Callable[[Path], Path]


WITHOUT_COPIER = """\
import importlib.metadata as metadata

version = metadata.version

def without_copier(name):
    if name == "copier":
        raise metadata.PackageNotFoundError(name)
    return version(name)

metadata.version = without_copier
"""


def rows(site: Any, *folders: Path, code: int, **environ: str) -> dict[str, dict[str, Any]]:
    run = site.run("outdated", *folders, "--json", **environ)
    assert run.returncode == code, run.stdout + run.stderr
    return {row["workflow"]: row for row in json.loads(run.stdout)}


def replace(file: Path, pattern: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert re.search(pattern, text)
    file.write_text(re.sub(pattern, new, text), encoding="utf-8")


def test_versions_behind_and_files_edited_or_missing(
    site: Any, render: Render, releases: Path, git: Git, fleet: Path
) -> None:
    untouched = render(fleet / "untouched", source=releases)
    old = render(fleet / "nested" / "old", source=releases, vcs_ref="v0.1.0")
    config = old / "src" / "old" / "config.yaml"
    config.write_text(config.read_text() + "# mine\n")
    (old / "src" / "old" / "ours.py").touch()
    (old / "README.md").unlink()

    found = rows(site, fleet, code=1)

    tag = git(releases, "tag", "--list").split()[-1]
    behind = int(git(releases, "rev-list", "--count", f"v0.1.0..{tag}"))
    assert behind >= 2
    assert found["old"] == {
        "path": str(old),
        "workflow": "old",
        "version": "v0.1.0",
        "latest": tag,
        "behind": behind,
        "edited": ["src/old/config.yaml"],
        "missing": ["README.md"],
        "runtime": __version__,  # it requires the path of this checkout, whatever its version
        "error": None,
    }
    assert found["untouched"] == {
        "path": str(untouched),
        "workflow": "untouched",
        "version": tag,
        "latest": tag,
        "behind": 0,
        "edited": [],
        "missing": [],
        "runtime": __version__,
        "error": None,
    }

    shutil.rmtree(old)
    assert set(rows(site, fleet, code=0)) == {"untouched"}
    table = site.run("outdated", fleet).stdout
    assert "workflow" in table
    assert "1 checkout: 0 behind, 0 edited" in table


def test_an_unknown_row_says_why_and_the_others_go_on(
    site: Any, render: Render, releases: Path, fleet: Path, tmp_path: Path
) -> None:
    good = render(fleet / "good", source=releases)

    def copied(name: str) -> Path:
        workflow = shutil.copytree(good, fleet / name)
        replace(workflow / ".copier-answers.yml", "workflow_name: .*", f"workflow_name: {name}")
        replace(workflow / "pyproject.toml", 'good = "', f'{name} = "')
        return workflow

    def broken(name: str, pattern: str, new: str) -> None:
        replace(copied(name) / ".copier-answers.yml", pattern, new)

    broken("syntax", "_commit:", "_commit: [")
    broken("no_mapping", r"(?s).*", "- 1\n")
    broken("unknown_commit", "_commit: .*", "_commit: v9.9.9")
    broken("option", "_commit: .*", "_commit: --all")
    broken("no_source", "_src_path: .*\n", "")
    broken("no_commit", "_commit: .*\n", "")
    broken("gone", "_src_path: .*", f"_src_path: {tmp_path}/gone.git")
    broken("relative", "_src_path: .*", "_src_path: ../template.git")
    broken("refused", "schedule: .*", "schedule: often")
    broken("host", "_src_path: .*", "_src_path: https://user:pa55word@host.invalid/template.git")
    (copied("no_answers") / ".copier-answers.yml").unlink()
    render(fleet / "no_git", source=release.copy_template(tmp_path / "folder"))
    (fleet / "not_a_workflow").mkdir()
    (fleet / "not_a_workflow" / ".copier-answers.yml").write_text(
        "_src_path: gh:other/template\nname: x\n"
    )

    found = rows(site, fleet, code=1)

    assert found["good"]["error"] is None
    reasons = {
        "syntax": ".copier-answers.yml cannot be read: line 3: ",
        "no_mapping": "expected a mapping of answers",
        "unknown_commit": f"the template {releases} has no version 'v9.9.9'",
        "option": "has no version '--all'",
        "no_source": "does not name its template (_src_path)",
        "no_commit": "names no version (_commit)",
        "gone": f"the template {tmp_path}/gone.git cannot be fetched",
        "relative": "the template ../template.git is a relative path",
        "refused": "its answers cannot be rendered: Validation error for question 'schedule'",
        "host": "the template https://host.invalid/template.git cannot be fetched",
        "no_answers": ".copier-answers.yml is missing",
        "no_git": "names no version (_commit): its template was a folder without git",
    }
    assert set(found) == {"good", *reasons}
    for name, reason in reasons.items():
        assert reason in found[name]["error"], name
        assert found[name]["edited"] is None
    run = site.run("outdated", fleet)
    assert "Traceback" not in run.stdout + run.stderr
    assert "pa55word" not in run.stdout + run.stderr
    assert f"{len(found)} checkouts: 0 behind, 0 edited, {len(reasons)} unknown" in run.stdout


def test_a_template_without_tags_is_counted_by_its_commits(
    site: Any, render: Render, template: Path, commit: Commit, git: Git, fleet: Path, tmp_path: Path
) -> None:
    source = commit(shutil.copytree(template, tmp_path / "template"))
    render(fleet / "orders", source=source, vcs_ref="HEAD")
    assert rows(site, fleet, code=0)["orders"]["behind"] == 0
    for name in ("one", "two"):
        (source / name).touch()
        commit(source)
    row = rows(site, fleet, code=1)["orders"]
    assert row["behind"] == 2
    assert row["latest"] == git(source, "describe", "--always")
    assert row["edited"] == []


def test_a_version_between_two_tags_is_found(
    site: Any, render: Render, own_releases: Path, commit: Commit, git: Git, tmp_path: Path
) -> None:
    gitignore = own_releases / "template" / ".gitignore"
    gitignore.write_text(gitignore.read_text() + "*.duckdb\n")
    commit(own_releases)
    render(tmp_path / "orders", source=own_releases, vcs_ref="HEAD")
    description = git(own_releases, "describe", "--tags")
    assert re.search(r"-\d+-g[0-9a-f]+$", description)
    row = rows(site, tmp_path / "orders", code=0)["orders"]
    assert (row["version"], row["behind"], row["edited"], row["missing"]) == (
        description,
        0,
        [],
        [],
    )
    git(own_releases, "tag", "v9.0.0")
    (own_releases / "later").touch()
    commit(own_releases)
    git(own_releases, "tag", "v9.1.0")
    row = rows(site, tmp_path / "orders", code=1)["orders"]
    assert (row["version"], row["latest"], row["behind"]) == (description, "v9.1.0", 1)


@pytest.mark.parametrize(
    "source",
    [
        "gh:org/dataflow-template",
        "git+https://example.com/org/t.git",
        "git@example.com:org/t.git",
        "file",
    ],
)
def test_a_template_on_a_host_is_fetched_once_for_all(
    site: Any, render: Render, releases: Path, fleet: Path, tmp_path: Path, source: str
) -> None:
    url = {"gh:org/dataflow-template": "https://github.com/org/dataflow-template.git"}.get(
        source, source
    )
    if source == "file":
        source = f"git+{releases.as_uri()}"
    # Git finds the releases at the address of a host that is never asked.
    host = tmp_path / "host"
    host.mkdir()
    for name in ("dataflow-template.git", "t.git"):
        (host / name).symlink_to(releases)
    redirect = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{host.as_uri()}/.insteadOf",
        "GIT_CONFIG_VALUE_0": url.rpartition("/")[0].removeprefix("git+") + "/",
    }
    for name in ("one", "two", "three"):
        workflow = render(fleet / name, source=releases, vcs_ref="v0.1.0")
        replace(workflow / ".copier-answers.yml", "_src_path: .*", f"_src_path: {source}")
    trace = tmp_path / "trace"

    found = rows(site, fleet, code=1, **redirect, GIT_TRACE=str(trace))

    assert [(row["error"], bool(row["behind"])) for row in found.values()] == [(None, True)] * 3
    # Rendered from a path and said to be from elsewhere: the requirement is what differs.
    assert [row["edited"] for row in found.values()] == [["pyproject.toml"]] * 3
    served = re.findall(r"git-upload-pack '.''([^']+)", trace.read_text())
    assert len([folder for folder in served if "/templates/" not in folder]) == 1


def test_the_runtime_is_what_the_requirement_names(
    site: Any, render: Render, releases: Path, git: Git, fleet: Path
) -> None:
    commit = git(releases, "rev-parse", "v0.2.0")
    asked = {
        "index": '"dataflow-runtime[run]>=0.1.0,<0.2"',
        "tag": f'"dataflow-runtime[run] @ git+{releases.as_uri()}@v0.1.0"',
        "hash": f'"dataflow-runtime[run] @ git+{releases.as_uri()}@{commit}"',
        "path": f'"dataflow-runtime[run] @ {releases.as_uri()}"',
        "other": '"polars"',
    }
    for name, line in asked.items():
        workflow = render(fleet / name, source=releases)
        replace(workflow / "pyproject.toml", r'"dataflow-runtime\[run\][^"]*"', line)
    found = {name: row["runtime"] for name, row in rows(site, fleet, code=0).items()}
    assert found == {
        "index": "<0.2,>=0.1.0",
        "tag": "0.1.0",
        "hash": "0.2.0",
        "path": __version__,
        "other": None,
    }


def test_a_workflow_installed_as_editable_is_among_them_wherever_it_is(
    site: Any, render: Render, releases: Path, fleet: Path, tmp_path: Path
) -> None:
    workflow = render(tmp_path / "elsewhere" / "orders", source=releases)
    site.write("orders", {"orders.pth": str(workflow / "src")}, {"orders": "orders.dagster_job"})
    origin = {"url": workflow.as_uri(), "dir_info": {"editable": True}}
    (site.folder / "orders-1.0.dist-info" / "direct_url.json").write_text(json.dumps(origin))
    render(fleet / "visits", source=releases)
    # The interpreter reads .pth files in site-packages only.
    path = f"{site.folder}:{workflow / 'src'}"
    assert set(rows(site, fleet, code=0, PYTHONPATH=path)) == {"orders", "visits"}
    assert len(rows(site, fleet, tmp_path / "elsewhere", code=0, PYTHONPATH=path)) == 2


def test_environments_and_hidden_folders_are_not_searched(
    site: Any, render: Render, releases: Path, fleet: Path
) -> None:
    for place in (".venv", "venv/lib", "node_modules/x", ".git"):
        render(fleet / place / "orders", source=releases)
    run = site.run("outdated", fleet)
    assert (run.returncode, run.stdout, run.stderr.splitlines()[-1]) == (
        0,
        "",
        "found no workflow checkout",
    )


def test_a_folder_that_is_not_there_is_wrong_usage(site: Any, fleet: Path) -> None:
    run = site.run("outdated", fleet / "nowhere")
    assert run.returncode == 2
    assert "does not exist" in run.stderr


def test_line_ends_are_not_edits(site: Any, render: Render, releases: Path, fleet: Path) -> None:
    readme = render(fleet / "orders", source=releases) / "README.md"
    readme.write_bytes(readme.read_bytes().replace(b"\n", b"\r\n"))
    assert rows(site, fleet, code=0)["orders"]["edited"] == []


def test_without_copier_it_says_what_to_install(site: Any) -> None:
    (site.folder / "sitecustomize.py").write_text(WITHOUT_COPIER)
    run = site.run("outdated")
    assert run.returncode == 1
    assert "copier is not installed" in run.stderr
    assert 'pip install "dataflow-runtime[fleet]"' in run.stderr


def test_no_task_of_a_template_runs_though_its_user_trusts_it(
    site: Any, render: Render, own_releases: Path, commit: Commit, git: Git, tmp_path: Path
) -> None:
    workflow = render(tmp_path / "orders", source=own_releases)
    questions = own_releases / "copier.yml"
    questions.write_text(f"_tasks: ['touch {tmp_path}/ran']\n{questions.read_text()}")
    git(commit(own_releases), "tag", "v9.0.0")
    replace(workflow / ".copier-answers.yml", "_commit: .*", "_commit: v9.0.0")
    settings = tmp_path / "settings.yml"
    settings.write_text(f"trust: ['{own_releases}']\n")
    row = rows(site, workflow, code=0, COPIER_SETTINGS_PATH=str(settings))["orders"]
    assert (row["version"], row["error"]) == ("v9.0.0", None)
    assert not (tmp_path / "ran").exists()


def test_neither_a_prerelease_nor_a_tag_that_was_removed_is_the_latest(
    site: Any, render: Render, own_releases: Path, commit: Commit, git: Git, tmp_path: Path
) -> None:
    workflow = render(tmp_path / "orders", source=own_releases, vcs_ref="v0.1.0")
    for tag in ("v9.9.0", "v10.0.0rc1", "v10.0.0.dev1", "nightly"):
        (own_releases / tag).touch()
        git(commit(own_releases), "tag", tag)
    assert rows(site, workflow, code=1)["orders"]["latest"] == "v9.9.0"
    git(own_releases, "tag", "v9.10.0")
    assert rows(site, workflow, code=1)["orders"]["latest"] == "v9.10.0"
    git(own_releases, "tag", "--delete", "v9.9.0", "v9.10.0")
    assert rows(site, workflow, code=1)["orders"]["latest"] == "v0.3.0"


def test_the_versions_are_compared_before_the_files(
    site: Any, render: Render, releases: Path, fleet: Path
) -> None:
    for name, tag in (("orders", "v0.1.0"), ("visits", None)):
        render(fleet / name, source=releases, vcs_ref=tag)
    run = site.run("outdated", fleet)
    assert "1 of 2 checkouts behind the template\n" in run.stderr


def test_edits_that_the_owner_accepts_are_not_listed(
    site: Any, render: Render, releases: Path, fleet: Path
) -> None:
    workflow = render(fleet / "own", source=releases)
    for name in ("README.md", "tests/test_config.py", "src/own/config.yaml"):
        replace(workflow / name, r"\Z", "\n# mine\n")
    (workflow / ".pre-commit-config.yaml").unlink()
    project = workflow / "pyproject.toml"
    accepted = '["README.md", "tests/*", ".pre-commit-config.yaml", "pyproject.toml"]'
    replace(project, r"\Z", f"\n[tool.dataflow]\naccepted = {accepted}\n")
    row = rows(site, fleet, code=0)["own"]
    assert (row["edited"], row["missing"]) == (["src/own/config.yaml"], [])
    replace(project, r"accepted = .*", "accepted = 'README.md'")
    error = rows(site, fleet, code=1)["own"]["error"]
    assert error == "pyproject.toml: tool.dataflow.accepted: expected a list of files"
