"""Installed workflows pass their own checks and run, however they were installed.

Most environments made here see the packages of the one that the tests run in, so that only the
workflow and the runtime are installed, not Dagster and dbt once more.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dataflow_runtime import __version__

Render = Callable[..., Path]
MakeEnvironment = Callable[[Path], Any]

pytestmark = pytest.mark.e2e

EVERY = list(
    itertools.product(("mock", "file", "api", "database"), ("duckdb", "postgres"), (True, False))
)
# Every pair of answers; `nox -s template` sets the variable and tries every combination.
PAIRWISE = [answers for number, answers in enumerate(EVERY) if number % 8 in (0, 3, 5, 6)]
# The script is in the environment of the tests, which the workflow's own one only sees.
RUNTIME = ("python", "-c", "from dataflow_runtime.cli import main; main()")
COMBINATIONS = EVERY if os.environ.get("TEMPLATE_COMBINATIONS") == "all" else PAIRWISE


# As a README says to try a workflow before its source and its server are there.
MOCKED = [
    ("file", "duckdb", False, []),
    ("api", "duckdb", True, ["source.type=mock"]),
    ("database", "postgres", True, ["source.type=mock", "output.warehouse=duckdb"]),
]


def name_of(source_type: str, warehouse: str, assets: bool) -> str:
    return f"{source_type}_to_{warehouse}" + ("_assets" if assets else "")


@dataclass(frozen=True)
class Renderings:
    """Every combination, rendered and installed in one environment.

    Attributes:
        workflows: Their folders by name.
        environment: What they are installed in.
    """

    workflows: dict[str, Path]
    environment: Any


@pytest.fixture(scope="session")
def renderings(once: Any, render: Render, make_environment: MakeEnvironment) -> Renderings:
    """Make them once for all workers. No test may change them."""
    names = {name_of(*answers): answers for answers in COMBINATIONS}

    def make(folder: Path) -> None:
        environment = make_environment(folder / "venv")
        editable = []
        for name, (source_type, warehouse, assets) in names.items():
            answers = {"source_type": source_type, "warehouse": warehouse, "assets": assets}
            workflow = render(folder / f"project_{name}", workflow_name=name, **answers)
            editable += ["--editable", str(workflow)]
        environment.pip("install", "--no-deps", *editable, folder=folder)

    folder = once("renderings", make)
    workflows = {name: folder / f"project_{name}" for name in names}
    return Renderings(workflows, make_environment(folder / "venv"))


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
    return bool(
        report["status"] == "success" and report["rows"]["loaded"] and report["dbt"]["models"] == 2
    )


def test_pairwise_holds_every_pair() -> None:
    for one, other in itertools.combinations(range(3), 2):
        assert {(row[one], row[other]) for row in PAIRWISE} == {
            (row[one], row[other]) for row in EVERY
        }


def ci_of(workflow: Path) -> tuple[list[str], dict[str, str]]:
    """Return commands and variables of the rendered .github/workflows/ci.yml."""
    ci = YAML(typ="safe").load(workflow / ".github" / "workflows" / "ci.yml")
    checks = ci["jobs"]["checks"]
    install, *commands = [step["run"] for step in checks["steps"] if "run" in step]
    assert install == "pip install -r requirements.txt -e '.[dev]'"
    assert len(commands) == 5
    return commands, checks.get("env", {})


@pytest.mark.parametrize("name", [name_of(*answers) for answers in COMBINATIONS])
def test_a_rendered_workflow_passes_its_own_ci(renderings: Renderings, name: str) -> None:
    workflow, environment = renderings.workflows[name], renderings.environment
    commands, variables = ci_of(workflow)
    assert "mypy" in commands
    # Of the plugins that the tests of this repository need, a workflow's environment has none.
    variables = {**variables, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for command in commands:
        program, *arguments = command.split()
        if program == "mypy":
            continue  # the next test
        start = RUNTIME if program == "dataflow-runtime" else ("python", "-m", program)
        more = ["-q", "-p", "no:cacheprovider"] if program == "pytest" else []
        environment.run(*start, *arguments, *more, folder=workflow, **variables)


def test_mypy_accepts_every_rendering(renderings: Renderings, tmp_path: Path) -> None:
    """One run on all of them, then one as the workflow's CI does it: both read Dagster once."""
    first, *_ = workflows = list(renderings.workflows.values())
    cache = ("--cache-dir", str(tmp_path / "cache"))
    folders = [str(workflow / part) for workflow in workflows for part in ("src", "tests")]
    # Modules get their names below the nearest of these folders; tests are `project_….tests.…`.
    places = [workflow / "src" for workflow in workflows]
    roots = os.pathsep.join(map(str, [*places, first.parent]))
    options = ("--config-file", str(first / "pyproject.toml"), "--explicit-package-bases")
    mypy = ("python", "-m", "mypy")
    environment = renderings.environment
    environment.run(*mypy, *cache, *options, *folders, folder=first.parent, MYPYPATH=roots)
    assert "mypy" in ci_of(first)[0]
    environment.run(*mypy, *cache, folder=first)


@pytest.mark.parametrize(
    ("source_type", "warehouse", "assets", "overrides"), MOCKED, ids=[row[0] for row in MOCKED]
)
def test_a_workflow_runs_on_mock_rows_before_its_source_is_there(
    renderings: Renderings,
    tmp_path: Path,
    source_type: str,
    warehouse: str,
    assets: bool,
    overrides: list[str],
) -> None:
    name = name_of(source_type, warehouse, assets)
    variables = {
        f"{name.upper()}_API_URL": "http://127.0.0.1:9/",
        f"{name.upper()}_DATABASE_URL": "sqlite:///there-is-none.db",
        f"{name.upper()}_POSTGRES_URL": "postgresql://user:password@127.0.0.1:9/none",
    }
    options = [word for override in overrides for word in ("--set", override)]
    command = [*RUNTIME, "run", name, *options, "--json"]
    output = renderings.environment.run(*command, folder=tmp_path, **variables)
    assert has_loaded(json.loads(output))


def test_the_wheel_of_every_rendering_is_accepted_by_an_index(
    renderings: Renderings, tmp_path: Path
) -> None:
    environment = renderings.environment
    workflows = map(str, renderings.workflows.values())
    environment.pip("wheel", "--no-deps", "--wheel-dir", "dist", *workflows, folder=tmp_path)
    wheels = [str(wheel) for wheel in (tmp_path / "dist").glob("*.whl")]
    assert len(wheels) == len(renderings.workflows)
    environment.run("python", "-m", "twine", "check", "--strict", *wheels, folder=tmp_path)


def test_workflows_from_a_path_and_from_git_are_installed_together(
    render: Render, make_environment: MakeEnvironment, project: Path, tmp_path: Path
) -> None:
    orders = render(tmp_path / "orders", source=project)
    visits = render(tmp_path / "visits", source=project, source_type="file", assets=False)
    environment = make_environment(tmp_path / "venv")
    source = str(orders / "requirements.txt")
    environment.pip("install", "-r", source, str(orders), commit(visits), folder=tmp_path)

    assert [row["name"] for row in environment.runtime("list", folder=tmp_path)] == [
        "orders",
        "visits",
    ]
    assert [row["status"] for row in environment.runtime("check", folder=tmp_path)] == ["ok", "ok"]
    assert has_loaded(environment.runtime("run", "visits", folder=tmp_path))


def test_a_template_from_git_brings_the_runtime_of_its_tag(
    render: Render, make_environment: MakeEnvironment, project: Path, tmp_path: Path
) -> None:
    orders = render(tmp_path / "orders", source=commit(project), vcs_ref=f"v{__version__}")
    environment = make_environment(tmp_path / "venv")
    source = str(orders / "requirements.txt")
    environment.pip("install", "-r", source, str(orders), folder=tmp_path)

    (runtime,) = (tmp_path / "venv").rglob("dataflow_runtime-*.dist-info/direct_url.json")
    assert json.loads(runtime.read_text())["vcs_info"]["requested_revision"] == f"v{__version__}"
    assert [row["status"] for row in environment.runtime("check", folder=tmp_path)] == ["ok"]


@pytest.fixture
def light_project(project: Path) -> Path:
    """The project without dependencies, to be installed into empty environments."""
    file = project / "pyproject.toml"
    text = file.read_text()
    start, end = text.index("\ndependencies = ["), text.index("[project.scripts]")
    extras = "[project.optional-dependencies]\nrun = []\npostgres = []\n\n"
    file.write_text(f"{text[:start]}\ndependencies = []\n\n{extras}{text[end:]}")
    return project


@pytest.fixture(params=["pip", "uv"])
def install(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that installs into a fresh environment; returns the runtime's origin."""
    uv = str(Path(sysconfig.get_path("scripts")) / "uv")
    place, python = tmp_path / "fresh", tmp_path / "fresh" / "bin" / "python"
    if request.param == "pip":
        prepare = [sys.executable, "-m", "venv", str(place)]
        command = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    else:
        prepare = [uv, "venv", "--python", sys.executable, str(place)]
        command = [uv, "pip", "install", "--python", str(python)]
    subprocess.run(prepare, check=True, capture_output=True)

    def run(*arguments: str | Path, folder: Path = tmp_path) -> dict[str, Any]:
        line = [*command, *map(str, arguments)]
        finished = subprocess.run(line, cwd=folder, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        (origin,) = place.rglob("dataflow_runtime-*.dist-info/direct_url.json")
        assert len(list(place.rglob("visits-*.dist-info"))) == 1
        found: dict[str, Any] = json.loads(origin.read_text())
        return found

    return run


def test_workflows_from_two_copies_of_the_template_are_installed_together(
    render: Render, light_project: Path, install: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    copy = shutil.copytree(light_project, tmp_path / "another-copy")
    orders = render(tmp_path / "orders", source=light_project)
    visits = render(tmp_path / "visits", source=copy, warehouse="postgres")
    found = install("-r", orders / "requirements.txt", orders, "-e", visits)
    assert found["url"] == light_project.as_uri()


def test_workflows_rendered_one_commit_apart_are_installed_together(
    render: Render, light_project: Path, install: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    url = commit(light_project)
    orders = render(tmp_path / "orders", source=url, vcs_ref="HEAD")
    git(light_project, "commit", "--quiet", "--allow-empty", "--message", "One more")
    visits = render(tmp_path / "visits", source=url, vcs_ref="HEAD")
    lines = {(one / "requirements.txt").read_text() for one in (orders, visits)}
    assert len(lines) == 2
    found = install(orders, "-r", visits / "requirements.txt", visits)
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=light_project, text=True)
    assert found["vcs_info"]["commit_id"] == head.strip()


def test_uv_needs_no_requirements_file_in_the_workflows_folder(
    render: Render, light_project: Path, tmp_path: Path
) -> None:
    visits = render(tmp_path / "visits", source=light_project)
    uv = str(Path(sysconfig.get_path("scripts")) / "uv")
    # Nox names its own environment here, which uv would empty.
    environ = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(visits / ".venv")}
    run = subprocess.run([uv, "sync"], cwd=visits, env=environ, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (origin,) = (visits / ".venv").rglob("dataflow_runtime-*.dist-info/direct_url.json")
    assert json.loads(origin.read_text())["url"] == light_project.as_uri()


def test_a_wheel_holds_the_whole_workflow_and_runs(
    render: Render, make_environment: MakeEnvironment, project: Path, tmp_path: Path
) -> None:
    orders = render(tmp_path / "orders", source=project, source_type="file")
    environment = make_environment(tmp_path / "venv")
    environment.pip(
        "wheel", "--no-deps", "--wheel-dir", str(tmp_path / "dist"), str(orders), folder=tmp_path
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")

    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = orders / "src"
    assert shipped == {
        path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()
    }

    shutil.rmtree(orders / "src")
    source = str(orders / "requirements.txt")
    environment.pip("install", "-r", source, str(wheel), folder=tmp_path)
    assert has_loaded(environment.runtime("run", "orders", folder=tmp_path))
