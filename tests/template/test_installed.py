"""Rendered workflows, installed: their own checks pass, and each way to install them ends in a workflow that runs.

The environments made here see the packages of the one that the tests run in, so that only the workflow and the runtime
are installed, not Dagster and dbt once more.
"""

import itertools
import json
import os
import shutil
import subprocess
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime import __version__

Render = Callable[..., Path]

pytestmark = pytest.mark.e2e

EVERY = list(itertools.product(("mock", "file", "api", "database"), ("duckdb", "postgres"), (True, False)))
# Every pair of answers; `nox -s template` sets the variable and tries every combination.
PAIRWISE = [answers for number, answers in enumerate(EVERY) if number % 8 in (0, 3, 5, 6)]
COMBINATIONS = EVERY if os.environ.get("TEMPLATE_COMBINATIONS") == "all" else PAIRWISE


class Environment:
    """A virtual environment that also sees the packages of this one."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        purelib = sysconfig.get_path("purelib", "venv", {"base": str(folder)})
        # addsitedir also reads the .pth files there: this environment's editable installs.
        line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (Path(purelib) / "packages_of_the_tests.pth").write_text(line)

    def run(self, program: str, *arguments: str, folder: Path, **variables: str) -> str:
        """Run a program of the environment in a folder and return its output; a failure shows all of it."""
        environment = {**os.environ, **variables}
        environment.pop("DATAFLOW_HOME", None)
        command = [str(self.scripts / program), *arguments]
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
        return run.stdout

    def pip(self, *arguments: str, folder: Path) -> str:
        return self.run("python", "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, folder=folder)

    def runtime(self, *arguments: str, folder: Path) -> Any:
        return json.loads(self.run("dataflow-runtime", *arguments, "--json", folder=folder))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One environment for the workflows that are installed one after the other."""
    return Environment(tmp_path_factory.mktemp("shared") / "venv")


@pytest.fixture(scope="session")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Types of Dagster and Polars, read once."""
    return tmp_path_factory.mktemp("mypy")


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Path:
    """The repository without git, as someone unpacks an archive of it: template and runtime."""
    folder = tmp_path / "dataflow-template"
    folder.mkdir()
    for name in ("dataflow_runtime", "template"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("copier.yml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, folder)
    return folder


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> str:
    """Make a git repository of a folder, release it, and return its URL."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Release")
    git(folder, "tag", f"v{__version__}")
    return f"git+{folder.as_uri()}"


def has_loaded(report: dict[str, Any]) -> bool:
    return bool(report["status"] == "success" and report["rows"]["loaded"] and report["dbt"]["models"] == 2)


def test_pairwise_holds_every_pair() -> None:
    for one, other in itertools.combinations(range(3), 2):
        assert {(row[one], row[other]) for row in PAIRWISE} == {(row[one], row[other]) for row in EVERY}


@pytest.mark.parametrize(("source_type", "warehouse", "assets"), COMBINATIONS)
def test_a_rendered_workflow_passes_its_own_checks(
    render: Render,
    shared: Environment,
    mypy_cache: Path,
    tmp_path: Path,
    source_type: str,
    warehouse: str,
    assets: bool,
) -> None:
    name = f"{source_type}_to_{warehouse}" + ("_assets" if assets else "")
    workflow = render(tmp_path / name, source_type=source_type, warehouse=warehouse, assets=assets)
    shared.pip("install", "--no-deps", "--editable", ".", folder=workflow)
    try:
        shared.run("python", "-m", "mypy", "--cache-dir", str(mypy_cache), folder=workflow)
        shared.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=workflow)
    finally:
        shared.pip("uninstall", "--yes", name, folder=workflow)


def test_two_workflows_from_a_path_and_from_git_stand_side_by_side(
    render: Render, project: Path, tmp_path: Path
) -> None:
    orders = render(tmp_path / "orders", source=project)
    visits = render(tmp_path / "visits", source=project, source_type="file", assets=False)
    environment = Environment(tmp_path / "venv")
    environment.pip("install", str(orders), commit(visits), folder=tmp_path)

    assert [row["name"] for row in environment.runtime("list", folder=tmp_path)] == ["orders", "visits"]
    assert [row["status"] for row in environment.runtime("check", folder=tmp_path)] == ["ok", "ok"]
    assert has_loaded(environment.runtime("run", "orders", folder=tmp_path))
    assert has_loaded(environment.runtime("run", "visits", folder=tmp_path))


def test_a_template_from_git_brings_the_runtime_of_its_tag(render: Render, project: Path, tmp_path: Path) -> None:
    orders = render(tmp_path / "orders", source=commit(project), vcs_ref=f"v{__version__}")
    environment = Environment(tmp_path / "venv")
    environment.pip("install", str(orders), folder=tmp_path)

    (runtime,) = (tmp_path / "venv").rglob("dataflow_runtime-*.dist-info/direct_url.json")
    assert json.loads(runtime.read_text())["vcs_info"]["requested_revision"] == f"v{__version__}"
    assert has_loaded(environment.runtime("run", "orders", folder=tmp_path))


def test_a_wheel_holds_the_whole_workflow_and_runs(render: Render, project: Path, tmp_path: Path) -> None:
    orders = render(tmp_path / "orders", source=project, source_type="file")
    environment = Environment(tmp_path / "venv")
    environment.pip("wheel", "--no-deps", "--wheel-dir", str(tmp_path / "dist"), str(orders), folder=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")

    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = orders / "src"
    assert shipped == {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}

    shutil.rmtree(orders)
    environment.pip("install", str(wheel), folder=tmp_path)
    assert has_loaded(environment.runtime("run", "orders", folder=tmp_path))
