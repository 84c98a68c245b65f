"""Fixtures of the template's tests: a copy of it, its releases in a repository, rendering, git."""

import json
import os
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import copier
import pytest

from tests.template import release

ROOT = Path(__file__).parents[2]

Render = Callable[..., Path]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template in a folder without git."""
    return release.copy_template(tmp_path_factory.mktemp("source") / "template")


@pytest.fixture(scope="session")
def render(template: Path) -> Render:
    """Return a function that renders the template into a folder, with answers, without trust."""

    def run(
        destination: Path,
        *,
        source: str | Path = template,
        vcs_ref: str | None = None,
        **answers: object,
    ) -> Path:
        copier.run_copy(
            str(source),
            destination,
            data=answers,
            vcs_ref=vcs_ref,
            defaults=True,
            unsafe=False,
            quiet=True,
        )
        return destination

    return run


def _git(folder: Path, *arguments: str | Path) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    run = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, f"git {arguments}: {run.stderr}"
    return run.stdout.rstrip("\n")


@pytest.fixture(scope="session")
def git() -> Callable[..., str]:
    """Return a function that runs git in a folder and returns what it prints."""
    return _git


@pytest.fixture(scope="session")
def commit() -> Callable[[Path], Path]:
    """Return a function that commits all of a folder, made a repository where it is none."""

    def run(folder: Path) -> Path:
        if not (folder / ".git").exists():
            _git(folder, "init", "--quiet")
            # As in a checkout of a team's: whoever runs a command there has a name.
            _git(folder, "config", "user.name", "t")
            _git(folder, "config", "user.email", "t@example.com")
        _git(folder, "add", "--all")
        _git(folder, "commit", "--quiet", "--allow-empty", "--message", "Change")
        return folder

    return run


@pytest.fixture(scope="session")
def make_releases(commit: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """Return a function that makes a repository: a tagged commit a release, then this checkout."""

    def write(folder: Path, files: dict[str, bytes]) -> None:
        for name in release.READ_BY_COPIER:
            shutil.rmtree(folder / name, ignore_errors=True)
        release.write_files(files, folder)
        commit(folder)

    def run(folder: Path) -> Path:
        folder.mkdir(parents=True)
        for tag, archive in release.released().items():
            write(folder, release.read_archive(archive))
            _git(folder, "tag", tag)
        write(folder, release.template_files(ROOT))
        return folder

    return run


@pytest.fixture(scope="session")
def releases(make_releases: Callable[[Path], Path], once: Any) -> Path:
    """A repository of the template's releases and, as HEAD, of this checkout; not to be changed."""
    return once("releases", make_releases)


@pytest.fixture
def own_releases(releases: Path, tmp_path: Path) -> Path:
    """The same repository for one test, which may go on with it."""
    return shutil.copytree(releases, tmp_path / "template")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """An empty folder for checkouts."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    return folder


class Environment:
    """A virtual environment that also sees the packages of this one, pip and hatchling among them.

    It is made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        if folder.exists():
            return
        venv.create(folder, symlinks=os.name != "nt")
        purelib = sysconfig.get_path("purelib", "venv", {"base": str(folder)})
        # addsitedir also reads the .pth files there: this environment's editable installs.
        line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (Path(purelib) / "packages_of_the_tests.pth").write_text(line)

    def run(self, program: str, *arguments: str, folder: Path, **variables: str) -> str:
        """Run a program of the environment in a folder; return its output, or fail and show it."""
        environment = {**os.environ, **variables}
        environment.pop("DATAFLOW_HOME", None)
        command = [str(self.scripts / program), *arguments]
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
        return run.stdout

    def pip(self, command: str, *arguments: str, folder: Path) -> str:
        """Run pip, which builds with the hatchling of this environment."""
        options = ["--quiet", "--disable-pip-version-check", command]
        if command in ("install", "wheel"):
            options.append("--no-build-isolation")
        return self.run("python", "-m", "pip", *options, *arguments, folder=folder)

    def runtime(self, *arguments: str, folder: Path) -> Any:
        return json.loads(self.run("dataflow-runtime", *arguments, "--json", folder=folder))


@pytest.fixture(scope="session")
def make_environment() -> type[Environment]:
    """Return what makes a virtual environment in a folder."""
    return Environment


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One environment of this worker for workflows that are installed one after the other."""
    return Environment(tmp_path_factory.mktemp("shared") / "venv")
