"""The one entry to every chore: ``nox -s demo``, ``tests``, ``lint``, ``types``, ``docs``, ``bench``, ``template``."""

import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent
EXAMPLE = ROOT / "docs" / "example_workflow"
GROUPS = nox.project.load_toml(ROOT / "pyproject.toml")["dependency-groups"]

# Nothing that is started here calls out, and compiled modules are kept: without them each process compiles Dagster again.
QUIET = {"DAGSTER_DISABLE_TELEMETRY": "yes", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "PYTHONDONTWRITEBYTECODE": None}


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
        "copier", "copy", "--quiet", "--defaults", "--vcs-ref", "HEAD", *answers, str(ROOT), str(workflow), env=env
    )
    session.log("2. Fill it in for the USGS earthquake feed, as docs/example_workflow does")
    for file in filled_in():
        shutil.copyfile(EXAMPLE / file, made(workflow / file))
    session.log("3. Install it: its pyproject.toml requires the runtime from where the template came")
    session.install(str(workflow))
    session.log("4. Run it")
    for arguments in (["list"], ["config", "validate"], ["run", "example_workflow"]):
        session.log("dataflow-runtime %s", " ".join(arguments))
        session.run("dataflow-runtime", *arguments, env=env)
    database = folder / ".dataflow" / "example_workflow.duckdb"
    query = "from example_workflow_marts.fct_earthquakes_daily order by 1 limit 5"
    script = f"import duckdb; print(duckdb.connect({str(database)!r}, read_only=True).sql({query!r}))"
    session.run("python", "-c", script, env=env)
    python = Path(session.bin) / "python"
    print(f"The warehouse: {database}\nQuery it:      {python} -c {script!r}\n")


def filled_in() -> list[Path]:
    """Return the example's files, as paths below it, but for the two that say where the template came from."""
    files = (file.relative_to(EXAMPLE) for file in EXAMPLE.rglob("*") if file.is_file())
    rendered = {Path("pyproject.toml"), Path(".copier-answers.yml")}
    return sorted(file for file in files if file not in rendered and "__pycache__" not in file.parts)


def made(file: Path) -> Path:
    """Make the folder of a file and return the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests; arguments go to pytest, e.g. ``nox -s tests -- -m 'not e2e'``."""
    session.install("-e", ".[all]", *GROUPS["test"], *GROUPS["lint"], *GROUPS["types"])
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *session.posargs, env=QUIET)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and the layers of the runtime."""
    session.install(*GROUPS["lint"], "-e", ".")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the runtime."""
    session.install("-e", ".[all]", *GROUPS["types"])
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Run the examples of the documentation and check its command reference against the commands."""
    session.install("-e", ".[all]", *GROUPS["test"])
    session.run("pytest", "tests/docs", *session.posargs, env=QUIET)


@nox.session
def bench(session: nox.Session) -> None:
    """Print performance as ratios against a peer or a limit measured in the same run."""
    session.install("-e", ".[all]", "copier>=9.10")
    session.run("python", "tests/bench/run.py", *session.posargs, env=QUIET)


@nox.session
def template(session: nox.Session) -> None:
    """Render every combination of answers, install it and run its own checks."""
    session.install("-e", ".[all]", *GROUPS["test"], *GROUPS["lint"], *GROUPS["types"])
    session.run("pytest", "tests/template", "--all-answers", *session.posargs, env=QUIET)
