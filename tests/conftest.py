"""Fixtures that install workflow packages cheaply: into their own folder on ``sys.path``."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

from dataflow_runtime.config.secrets import forget_secrets
from dataflow_runtime.workflows import registry

# No deadlines: the machine may be busy. `nox -s tests` chooses "ci", the same examples each time.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

TESTS = Path(__file__).parent
PACKAGES = TESTS / "packages"
# Files that take long, in processor time: they start first, so that no worker ends long after the
# others. `--durations` of a run says when this order is out of date.
SLOW = (
    "template/test_installed.py",
    "integration/test_kill.py",
    "integration/dashboards",
    "template/test_upgrade.py",
    "integration/api/test_runs.py",
    "integration/test_deployment.py",
    "template/test_update.py",
    "integration/test_signals.py",
    "integration/test_dagster.py",
    "integration/api/test_hostile.py",
    "integration/test_executors.py",
    "integration/test_cli.py",
    "integration/test_warehouses.py",
    "integration/test_run.py",
    "integration/test_dev.py",
    "integration/test_repositories.py",
    "docs",
    "integration",
    "template",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow files first; the tests of a file keep their order."""

    def rank(item: pytest.Item) -> int:
        found = (
            number for number, name in enumerate(SLOW) if item.path.is_relative_to(TESTS / name)
        )
        return next(found, len(SLOW))

    items.sort(key=rank)


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """Return a function that makes a folder once for all workers of a session, and returns it.

    Nobody may change what is in it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def run(name: str, make: Callable[[Path], object]) -> Path:
        folder, made = shared / name, shared / f"{name}.made"
        with FileLock(shared / f"{name}.lock"):
            if not made.exists():
                make(folder)
                made.touch()
        return folder

    return run


class Site:
    """A folder of installed packages, seen by this process and by those that `run` starts.

    Attributes:
        folder: The folder on ``sys.path``.
        home: ``DATAFLOW_HOME``.
        environ: The environment of the commands that `run` starts.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        self.top_levels: set[str] = set()
        self.started: list[subprocess.Popen[str]] = []
        folder.mkdir()
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DATAFLOW_", "DAGSTER_HOME", "PYTHONDONTWRITEBYTECODE"))
        } | {"PYTHONPATH": str(folder), "DATAFLOW_HOME": str(home), "COLUMNS": "200"}

    def install(self, *names: str, version: str = "1.0") -> Path:
        """Install packages of ``tests/packages``; return the folder of the last one's code."""
        for name in names:
            shutil.copytree(
                PACKAGES / name,
                self.folder,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
            entry_points = self.folder / "entry_points.txt"
            self._advertise(name, version, entry_points.read_text())
            entry_points.unlink()
            self.top_levels |= {child.name for child in (PACKAGES / name).iterdir()}
        return self.folder / names[-1]

    def write(
        self,
        name: str,
        files: Mapping[str, str],
        entry_points: Mapping[str, str],
        *,
        version: str = "1.0",
    ) -> Path:
        """Install a package made of the given files; return the folder of its code."""
        for file, text in files.items():
            path = self.folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            self.top_levels.add(path.relative_to(self.folder).parts[0].removesuffix(".py"))
        lines = [f"{workflow} = {module}\n" for workflow, module in entry_points.items()]
        self._advertise(name, version, "[dataflow.workflows]\n" + "".join(lines))
        return self.folder / name

    def _advertise(self, name: str, version: str, entry_points: str) -> None:
        metadata = self.folder / f"{name}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        (metadata / "entry_points.txt").write_text(entry_points)
        (metadata / "RECORD").touch()
        importlib.invalidate_caches()

    def run(
        self, *arguments: str | Path, timeout: float = 120, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``dataflow-runtime`` with these arguments in a process of its own."""
        return subprocess.run(
            [Path(sysconfig.get_path("scripts")) / "dataflow-runtime", *arguments],
            env=self.environ | environ,
            cwd=self.folder.parent,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            start_new_session=True,  # a workflow that kills its process group kills itself only
        )

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start a command as `run` does, without waiting; it is killed after the test."""
        process = subprocess.Popen(
            [Path(sysconfig.get_path("scripts")) / "dataflow-runtime", *arguments],
            env=self.environ | environ,
            cwd=self.folder.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def json(self, *arguments: str | Path, **environ: str) -> Any:
        """Return what a command prints with ``--json``; anything else on stdout fails."""
        return json.loads(self.run(*arguments, "--json", **environ).stdout)

    def python(self, code: str, **environ: str) -> str:
        """Run Python code in a process of its own; return what it prints."""
        outcome = subprocess.run(
            [sys.executable, "-c", code],
            env=self.environ | environ,
            cwd=self.folder.parent,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty folder of installed packages, with its own home, registry and ``sys.modules``."""
    for variable in [name for name in os.environ if name.startswith("DATAFLOW_")]:
        monkeypatch.delenv(variable)
    site = Site(tmp_path / "site", tmp_path / "home")
    monkeypatch.setenv("DATAFLOW_HOME", str(site.home))
    # Opening Dagster's instance sets it; set here, it is restored after the test.
    monkeypatch.setenv("DAGSTER_HOME", str(site.home / "dagster"))
    monkeypatch.setattr(registry, "_registrations", {})
    monkeypatch.syspath_prepend(site.folder)
    monkeypatch.chdir(tmp_path)
    yield site
    for process in site.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    for module in [name for name in sys.modules if name.split(".")[0] in site.top_levels]:
        del sys.modules[module]
    forget_secrets()


@pytest.fixture
def run(site: Site) -> Any:
    """Return `dataflow_runtime.run_workflow`, which runs a workflow in this process."""
    from dagster._core.definitions.reconstruct import ReconstructableJob

    from dataflow_runtime import run_workflow

    # Dagster caches the last job by its recipe, but each test has another package of this name.
    ReconstructableJob.get_definition.cache_clear()
    ReconstructableJob.get_repository_definition.cache_clear()
    return run_workflow


@pytest.fixture(scope="session")
def site_type() -> type[Site]:
    """The class of `site`, for fixtures of a wider scope."""
    return Site
