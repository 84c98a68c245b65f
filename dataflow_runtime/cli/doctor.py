"""``doctor``: looks at what runs need from this machine, and says what to do about each problem."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from dataflow_runtime import __version__
from dataflow_runtime.cli import options, output
from dataflow_runtime.cli.failures import explained, require, requirements

if TYPE_CHECKING:
    from dataflow_runtime.config import WorkflowConfig

_LITTLE = 2 * 10**9  # bytes of free disk


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        name: What was checked.
        status: ``ok``; ``warning``, something optional is missing; ``problem``, a run would fail.
        found: What is there.
        hint: What to do, None where nothing is to be done.
    """

    name: str
    status: str
    found: str
    hint: str | None = None


@click.command("doctor")
@options.json_option
def doctor_command(*, as_json: bool) -> int:
    """Check this machine: versions, warehouses, Dagster's home, Node, disk, templates.

    Says what to do about each problem. Exit code 1 if there is one.

    \b
    Example:
      dataflow-runtime doctor --json
    """
    with output.quiet_stdout(), output.Progress("checking this machine"):
        findings = [finding for check in _CHECKS for finding in _attempt(check)]
    if as_json:
        output.print_json([finding._asdict() for finding in findings])
    else:
        rows = [
            (name, status, f"{found}\n→ {hint}" if hint else found)
            for name, status, found, hint in findings
        ]
        output.print_table(rows, header=("check", "status", "found"))
    return int(any(finding.status == "problem" for finding in findings))


def _attempt(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Return what a check found; that it failed is a finding, too."""
    try:
        return list(check())
    except Exception as error:
        return [_problem(check.__name__.strip("_").replace("_", " "), error)]


def _problem(name: str, error: Exception, status: str = "problem") -> Finding:
    known = explained(error)
    return Finding(name, status, known.message, known.hint)


def _python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")


def _packages() -> Iterator[Finding]:
    from importlib.metadata import version

    require("run")
    for package in requirements("run"):
        installed = version(package.name)
        if not package.specifier.contains(installed, prereleases=True):
            found = f"{installed}; supported: {package.specifier}"
            hint = f'pip install "{package.name}{package.specifier}"'
            yield Finding(package.name, "problem", found, hint)
    yield Finding("dataflow-runtime", "ok", __version__)


def _environment() -> Iterator[Finding]:
    from dataflow_runtime.config import config_manager

    for warning in config_manager.environment_warnings():
        yield Finding("environment", "warning", warning)


def _dagster_home() -> Iterator[Finding]:
    from dataflow_runtime.orchestration.listing import has_instance
    from dataflow_runtime.orchestration.run import open_instance
    from dataflow_runtime.settings import get_settings

    home = get_settings().dagster_home
    if not has_instance():
        _write_to(home)
        yield Finding("dagster home", "ok", f"{home}, which the first run makes")
        return
    with open_instance() as instance:
        instance.get_runs(limit=1)
    yield Finding("dagster home", "ok", str(home))


def _disk() -> Iterator[Finding]:
    from dataflow_runtime.settings import get_settings

    home = get_settings().home
    free = shutil.disk_usage(_write_to(home)).free
    hint = "free some space, or set DATAFLOW_HOME" if free < _LITTLE else None
    status = "warning" if hint else "ok"
    yield Finding("disk", status, f"{free / 10**9:.1f} GB free for {home}", hint)


def _write_to(folder: Path) -> Path:
    """Write a temporary file to a folder, or to the one in which it would be made; return that."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    tempfile.TemporaryFile(dir=there).close()
    return there


def _warehouses() -> Iterator[Finding]:
    from dataflow_runtime.config import config_manager
    from dataflow_runtime.workflows.discovery import find_workflows

    for workflow in find_workflows():
        name = f"warehouse of {workflow.name}"
        try:
            yield Finding(name, "ok", _reached(config_manager.load_config(workflow.name)))
        except Exception as error:
            yield _problem(name, error)


def _reached(config: WorkflowConfig) -> str:
    from dataflow_runtime.pipeline.warehouse import duckdb_path, location, postgres_url, reach

    with reach(config):
        if config.output.warehouse == "postgres":
            from adbc_driver_postgresql import dbapi

            dbapi.connect(postgres_url(config)).close()
        elif duckdb_path(config).exists():
            import duckdb

            duckdb.connect(duckdb_path(config), read_only=True).close()
        else:
            return f"{location(config)}, which the first run makes"
    return location(config)


def _node() -> Iterator[Finding]:
    from dataflow_runtime.dashboards.node import find_node

    try:
        node = find_node()
    except Exception as error:
        yield _problem("node (for dashboards)", error, "warning")
    else:
        yield Finding("node", "ok", f"{node.version} ({node.folder})")


def _templates() -> Iterator[Finding]:
    from dataflow_runtime.fleet.checkouts import find_editable

    for checkout in find_editable():
        name = f"template of {checkout.workflow}"
        if checkout.version == f"v{__version__}":
            yield Finding(name, "ok", checkout.version)
        else:
            found = f"{checkout.version or checkout.error}; the runtime is v{__version__}"
            hint = f"`dataflow-runtime upgrade {checkout.path}` shows what an update changes"
            yield Finding(name, "warning", found, hint)


_CHECKS = (
    *(_python, _packages, _environment, _dagster_home, _disk, _warehouses, _node, _templates),
)
