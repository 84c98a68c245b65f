"""Where pip gets the runtime from, for each kind of place that a template can come from."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from ruamel.yaml import YAML

from dataflow_runtime import __version__
from tests.template import release

Render = Callable[..., Path]


def origin(workflow: Path) -> str:
    """Return where a workflow's requirements.txt takes the runtime from."""
    lines = (workflow / "requirements.txt").read_text().splitlines()
    (line,) = [line for line in lines if not line.startswith("#")]
    project = tomllib.loads((workflow / "pyproject.toml").read_text())
    assert project["tool"]["uv"]["constraint-dependencies"] == [line]
    assert requirement(workflow) == release.requirement(__version__)
    url = Requirement(line).url
    assert url is not None
    return url


def requirement(workflow: Path) -> str:
    """Return the one requirement of a rendered workflow, as pip would read it."""
    (line,) = tomllib.loads((workflow / "pyproject.toml").read_text())["project"]["dependencies"]
    assert Requirement(line).name == "dataflow-runtime"
    return str(line)


def answers(workflow: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(workflow / ".copier-answers.yml")
    return loaded


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    run = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return run.stdout.strip()


def local_url(folder: Path) -> str:
    """Return a file URL with a host: pip before 24.1 refuses `git+file:///…`."""
    return folder.as_uri().replace("file:///", "file://localhost/")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The template in a git repository; its one commit is tagged as the current release."""
    folder = release.copy_template(tmp_path / "template repository")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Release")
    git(folder, "tag", f"v{__version__}")
    return folder


def test_a_folder_is_required_by_its_path(render: Render, template: Path, tmp_path: Path) -> None:
    workflow = render(tmp_path / "orders")
    assert origin(workflow) == template.as_uri()
    assert answers(workflow)["_src_path"] == str(template)


def test_a_relative_folder_is_remembered_as_an_absolute_one(
    render: Render, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(template.parent)
    workflow = render(tmp_path / "orders", source=template.name)
    assert origin(workflow) == template.as_uri()
    assert answers(workflow)["_src_path"] == str(template)


def test_a_path_with_odd_characters_is_a_valid_url(render: Render, tmp_path: Path) -> None:
    source = release.copy_template(tmp_path / 'odd "place" #1 & é')
    workflow = render(tmp_path / "orders", source=source)
    assert origin(workflow) == source.as_uri()


def test_a_local_repository_is_required_by_its_path(
    render: Render, repository: Path, tmp_path: Path
) -> None:
    workflow = render(tmp_path / "orders", source=repository)
    assert origin(workflow) == repository.as_uri()
    assert answers(workflow)["_commit"] == f"v{__version__}"


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("gh:org/dataflow-template", "https://github.com/org/dataflow-template.git"),
        ("gl:org/dataflow-template.git", "https://gitlab.com/org/dataflow-template.git"),
        (
            "https://github.com/org/dataflow-template.git",
            "https://github.com/org/dataflow-template.git",
        ),
        (
            "git+https://github.com/org/dataflow-template.git",
            "https://github.com/org/dataflow-template.git",
        ),
        (
            "git@example.com:org/dataflow-template.git",
            "ssh://git@example.com/org/dataflow-template.git",
        ),
        (
            "ssh://git@example.com/org/dataflow-template.git",
            "ssh://git@example.com/org/dataflow-template.git",
        ),
    ],
)
def test_a_git_url_is_required_at_the_tag_that_was_rendered(
    repository: Path, tmp_path: Path, source: str, url: str
) -> None:
    address = (
        url.replace("ssh://git@example.com/", "git@example.com:")
        if source.startswith("git@")
        else url
    )
    # Git finds the test's repository at the address of a host that is never asked.
    redirect = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf"}
    environment = {
        **os.environ,
        **redirect,
        "GIT_CONFIG_VALUE_0": address,
        "COPIER_CACHE_DIR": str(tmp_path / "cache"),
    }
    workflow = tmp_path / "orders"
    copier = [
        sys.executable,
        "-m",
        "copier",
        "copy",
        "--defaults",
        "--quiet",
        source,
        str(workflow),
    ]
    subprocess.run(copier, env=environment, check=True, capture_output=True)
    assert origin(workflow) == f"git+{url}@v{__version__}"
    assert answers(workflow)["_src_path"] == source


def test_between_tags_the_commit_is_required(
    render: Render, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPIER_CACHE_DIR", str(tmp_path / "cache"))
    (repository / "new").touch()
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "More")
    source = f"git+{repository.as_uri()}"
    head = git(repository, "rev-parse", "HEAD")
    workflow = render(tmp_path / "orders", source=source, vcs_ref="HEAD")
    assert origin(workflow) == f"git+{local_url(repository)}@{head}"


def test_a_bare_repository_is_required_through_git(
    render: Render, repository: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), str(bare))
    workflow = render(tmp_path / "orders", source=bare)
    assert origin(workflow) == f"git+{local_url(bare)}@v{__version__}"


def test_every_version_before_the_next_major_one_is_allowed(render: Render, tmp_path: Path) -> None:
    major = int(__version__.split(".")[0])
    workflow = render(tmp_path / "orders")
    assert requirement(workflow) == f"dataflow-runtime[run]>={__version__},<{major + 1}"


def test_from_the_index_no_other_place_is_named(render: Render, tmp_path: Path) -> None:
    workflow = render(tmp_path / "orders", runtime_source="index")
    assert requirement(workflow) == release.requirement(__version__)
    assert not (workflow / "requirements.txt").exists()
    assert "uv" not in tomllib.loads((workflow / "pyproject.toml").read_text())["tool"]


def test_postgres_brings_its_extra(render: Render, tmp_path: Path) -> None:
    workflow = render(tmp_path / "orders", runtime_source="index", warehouse="postgres")
    assert Requirement(requirement(workflow)).extras == {"run", "postgres"}


def test_an_update_from_a_relative_path_keeps_edits(
    repository: Path, render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.parent)
    workflow = render(tmp_path / "elsewhere" / "orders", source=repository.name)
    config = workflow / "src" / "orders" / "config.yaml"
    config.write_text(config.read_text() + "\nretries:\n  max_retries: 2 # mine\n")
    git(workflow, "init", "--quiet")
    git(workflow, "add", "--all")
    git(workflow, "commit", "--quiet", "--message", "Render")
    changed = repository / "template" / ".gitignore"
    changed.write_text(changed.read_text() + "*.duckdb\n")
    git(repository, "commit", "--quiet", "--all", "--message", "More")

    monkeypatch.chdir(workflow)
    copier = [
        sys.executable,
        "-m",
        "copier",
        "update",
        "--defaults",
        "--quiet",
        "--vcs-ref",
        "HEAD",
    ]
    subprocess.run(copier, check=True, capture_output=True)

    assert git(workflow, "status", "--short").split() == [
        "M",
        ".copier-answers.yml",
        "M",
        ".gitignore",
    ]
    assert "*.duckdb" in (workflow / ".gitignore").read_text()
    assert "# mine" in config.read_text()
