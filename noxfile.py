"""The one entry point to every chore; ``nox --list`` shows them all.

``nox -s demo``, ``tests``, ``lint``, ``types``, ``docs``, ``bench``, ``template``, ``kill``,
``versions``, ``mutants``, ``constraints``, ``release``, ``screenshots``.
"""

import os
import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent
EXAMPLE = ROOT / "docs" / "example_workflow"
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
GROUPS = PROJECT["dependency-groups"]
# The versions of every package that CI runs with; `nox -s constraints` writes them.
CONSTRAINTS = ROOT / "constraints.txt"
EVERYTHING = ["-e", ".[all]", *GROUPS["test"], *GROUPS["lint"], *GROUPS["types"]]

# Nothing that is started here calls out. Compiled modules are kept: without them each process
# compiles Dagster again.
QUIET = {
    # Nox's own environment, which uv in a test would change otherwise.
    "UV_PROJECT_ENVIRONMENT": None,
    "UV_PYTHON": None,
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "PYTHONDONTWRITEBYTECODE": None,
}


SHOW_VERSIONS = (
    "import importlib.metadata as m, sys\n"
    "names = ('dagster', 'dbt-core', 'polars', 'duckdb', 'pyarrow', 'pydantic', 'click')\n"
    "print('Python', sys.version.split()[0], *(f'{name} {m.version(name)}' for name in names))"
)

# Tests of the template commit in repositories that they create.
IDENTITY = {
    "GIT_AUTHOR_NAME": "tests",
    "GIT_AUTHOR_EMAIL": "tests@localhost",
    "GIT_COMMITTER_NAME": "tests",
    "GIT_COMMITTER_EMAIL": "tests@localhost",
}
# CI chooses Hypothesis' profile of the same examples each time.
TESTING = {**QUIET, **IDENTITY, "CI": "true"}


@nox.session
def demo(session: nox.Session) -> None:
    """Render the example workflow, install it, and run it on a week of real earthquakes."""
    folder = ROOT / "build" / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    workflow = folder / "example_workflow"
    env = {**QUIET, "DATAFLOW_HOME": str(folder / ".dataflow")}
    session.install("copier>=9.10")
    session.log("1. Render the template")
    answers = ["--data", "source_type=file", "--data", "description=Earthquakes of the USGS feed"]
    session.run(
        "copier",
        "copy",
        "--quiet",
        "--defaults",
        "--vcs-ref",
        "HEAD",
        *answers,
        str(ROOT),
        str(workflow),
        env=env,
    )
    session.log("2. Fill it in for the USGS earthquake feed, as docs/example_workflow does")
    for part in ("src", "tests", "README.md"):
        replace(workflow / part, EXAMPLE / part)
    session.log(
        "3. Install it: its requirements.txt takes the runtime from where the template came"
    )
    session.install("-r", str(workflow / "requirements.txt"), str(workflow))
    session.log("4. Run it")
    for arguments in (["list"], ["config", "validate"], ["run", "example_workflow"]):
        session.run("dataflow-runtime", *arguments, env=env)
    database = folder / ".dataflow" / "example_workflow.duckdb"
    query = "from example_workflow_marts.fct_earthquakes_daily order by 1 limit 5"
    script = (
        f"import duckdb; print(duckdb.connect({str(database)!r}, read_only=True).sql({query!r}))"
    )
    session.run("python", "-c", script, env=env)
    python = Path(session.bin) / "python"
    print(f"The warehouse: {database}\nQuery it:      {python} -c {script!r}\n")


def replace(target: Path, source: Path) -> None:
    """Replace a file or folder by a copy of another one."""
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


@nox.session
def tests(session: nox.Session) -> None:
    """Check style and types, and run all tests.

    With arguments it only runs pytest, with them: ``nox -s tests -- -m 'not e2e'``.
    """
    install(session, *EVERYTHING)
    find_browser(session)
    if not session.posargs:
        check_style(session)
        check_types(session)
    # Files stay together for their fixtures; tests/conftest.py puts the slow ones first. Tests that
    # wait leave their processor to one more worker.
    workers = str((os.cpu_count() or 1) + 1)
    command = ["pytest", "-n", workers, "--dist", "loadfile", "--no-loadscope-reorder"]
    session.run(*command, "--durations", "10", *session.posargs, env=TESTING)


def install(session: nox.Session, *requirements: str) -> None:
    """Install in the versions of constraints.txt."""
    session.install("-c", str(CONSTRAINTS), *requirements)


def check_style(session: nox.Session) -> None:
    """Check style, formatting and the layers of the runtime."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


def check_types(session: nox.Session) -> None:
    """Check the types of the runtime."""
    session.run("mypy")


def find_browser(session: nox.Session) -> None:
    """Make sure that there is a Chromium for the tests of the dashboards and of Dagster's UI.

    It is the one on the PATH, or else Playwright's, or else, as root on Debian or Ubuntu, the
    distribution's.
    """
    script = (
        "import pathlib, playwright.sync_api as api\n"
        "with api.sync_playwright() as playwright:\n"
        "    print(pathlib.Path(playwright.chromium.executable_path).exists())\n"
    )

    def is_there() -> bool:
        if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
            return True
        return "True" in str(session.run("python", "-c", script, silent=True))

    if is_there():
        return
    download = ("playwright", "install", "--only-shell", "chromium")
    session.run(*download, silent=True, success_codes=range(256))
    if not is_there() and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        session.run("apt-get", "update", "-qq", external=True, env=quiet)
        install = ("apt-get", "install", "-y", "-qq", "chromium")
        session.run(*install, external=True, silent=True, env=quiet)
    if not is_there():
        session.error("the tests need a browser: install Chromium, and run this again")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and the layers of the runtime."""
    install(session, *GROUPS["lint"], "-e", ".")
    check_style(session)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the runtime."""
    install(session, "-e", ".[all]", *GROUPS["types"])
    check_types(session)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into build/site, strictly; it asks no other host."""
    session.install(*GROUPS["docs"])
    session.run("zensical", "build", "--strict", "--clean", env=QUIET)
    session.log(f"Open {ROOT / 'build' / 'site' / 'index.html'}")


@nox.session
def screenshots(session: nox.Session) -> None:
    """Make the pictures in docs/assets again, from real programs; ``-- terminal`` makes one."""
    install(session, *EVERYTHING, str(EXAMPLE))
    session.run("python", "tests/docs/screenshots.py", *session.posargs, env=QUIET)


@nox.session
def bench(session: nox.Session) -> None:
    """Print performance as ratios against a peer or a limit measured in the same run."""
    install(session, *EVERYTHING)
    session.run("python", "-m", "tests.bench.run", *session.posargs, env=QUIET)


@nox.session
def template(session: nox.Session) -> None:
    """Render every combination of answers, install it and run its own checks."""
    install(session, *EVERYTHING)
    session.run(
        "pytest",
        "tests/template",
        "-n",
        "auto",
        *session.posargs,
        env={**QUIET, "TEMPLATE_COMBINATIONS": "all"},
    )


@nox.session
def kill(session: nox.Session) -> None:
    """Kill a run at every place, for every disposition, in both warehouses; send 100 signals."""
    install(session, *EVERYTHING)
    files = [f"tests/integration/test_{name}.py" for name in ("kill", "signals")]
    command = ["pytest", *files, "-n", "auto", "--dist", "worksteal", "--timeout", "3600"]
    session.run(*command, *session.posargs, env={**QUIET, "KILL_CASES": "all", "SIGNALS": "100"})


@nox.session
@nox.parametrize("end", ["lowest", "highest"])
def versions(session: nox.Session, end: str) -> None:
    """Run the unit and Dagster tests on the lowest and the highest versions that are allowed.

    ``nox -s versions --force-python 3.13`` does so on another Python; arguments go to pytest.
    """
    resolution = "lowest-direct" if end == "lowest" else "highest"
    session.install("--upgrade", "--resolution", resolution, *EVERYTHING)
    session.run("python", "-c", SHOW_VERSIONS)
    paths = ("unit", "integration/test_dagster.py", "integration/test_repositories.py")
    chosen = session.posargs or [f"tests/{path}" for path in paths]
    session.run("pytest", "-n", "auto", "--dist", "loadfile", *chosen, env=TESTING)


@nox.session
def mutants(session: nox.Session) -> None:
    """Print changes of the runtime that its tests do not notice; ``-- 60 7``: minutes, seed."""
    install(session, *EVERYTHING)
    session.run("python", "-m", "tests.mutants", *session.posargs, env=TESTING)


@nox.session
def constraints(session: nox.Session) -> None:
    """Write constraints.txt: the highest versions that all extras and groups allow together."""
    session.install("uv")
    # Zensical and Copier do not agree on pathspec; the site is built in an environment of its own.
    groups = [word for group in GROUPS if group != "docs" for word in ("--group", group)]
    options = ["--no-header", "--no-annotate", "--no-emit-index-url", "--quiet"]
    lowest = PROJECT["project"]["requires-python"].removeprefix(">=")
    command = ["uv", "pip", "compile", "--upgrade", "--universal", "--python-version", lowest]
    target = ["--all-extras", *groups, "pyproject.toml", "--output-file", str(CONSTRAINTS)]
    session.run(*command, *options, *target)


@nox.session
def release(session: nox.Session) -> None:
    """Build wheel and sdist and check the versions; ``-- 1.2.3`` first sets that version."""
    script = "tests/template/release.py"
    dist = ROOT / "dist"
    session.install(*GROUPS["release"])
    if session.posargs:
        session.run("python", script, "prepare", *session.posargs)
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist), ".")
    session.run("twine", "check", "--strict", *map(str, dist.glob("dataflow_runtime-*")))
    session.run("python", script, "check", str(dist))
