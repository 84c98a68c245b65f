"""What ``doctor`` finds, and what it says to do."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from typing import Any

import pytest

from dataflow_runtime import __version__
from dataflow_runtime.cli import failures
from tests.unit.cli.conftest import Command

CONFIG = "source: {type: mock}\n"
Usage = namedtuple("Usage", ["total", "used", "free"])


def add(site: Any, name: str, config: str = CONFIG) -> None:
    job = f"from dataflow_runtime import register_workflow\nregister_workflow(name='{name}')\n"
    files = {f"{name}/job.py": job, f"{name}/config.yaml": config}
    site.write(name, files, {name: f"{name}.job"})


def doctor(command: Command) -> tuple[int, dict[str, dict[str, Any]]]:
    outcome = command("doctor", "--json")
    found = json.loads(outcome.stdout)
    assert all(list(finding) == ["name", "status", "found", "hint"] for finding in found)
    return outcome.code, {finding["name"]: finding for finding in found}


def test_a_machine_where_all_is_well(site: Any, command: Command) -> None:
    add(site, "things")
    code, found = doctor(command)
    assert code == 0
    assert found["dataflow-runtime"]["found"] == __version__
    assert found["warehouse of things"]["status"] == "ok"
    assert found["warehouse of things"]["found"].startswith(str(site.home / "things.duckdb"))
    assert {"python", "dagster home", "disk"} <= set(found)
    assert not site.home.exists()


def test_a_warehouse_that_cannot_be_reached(site: Any, command: Command) -> None:
    url = "postgresql://loader:hunter2planted@127.0.0.1:1/none"
    output = f"output: {{warehouse: postgres, postgres: {{url: '{url}'}}}}\n"
    add(site, "things", CONFIG + output)
    code, found = doctor(command)
    assert code == 1
    finding = found["warehouse of things"]
    assert finding["status"] == "problem"
    assert "127.0.0.1:1/none" in finding["found"]
    assert "hunter2planted" not in str(found)


def test_a_broken_config_is_that_workflows_problem(site: Any, command: Command) -> None:
    add(site, "broken", "source: {type: mokc}\n")
    add(site, "things")
    code, found = doctor(command)
    assert code == 1
    assert found["warehouse of broken"]["status"] == "problem"
    assert "source.type" in found["warehouse of broken"]["found"]
    assert found["warehouse of things"]["status"] == "ok"


def test_a_package_that_is_not_supported(
    site: Any, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from packaging.specifiers import SpecifierSet

    packages = failures.requirements("run")
    packages[0].specifier = SpecifierSet(">=99")
    monkeypatch.setattr("dataflow_runtime.cli.doctor.requirements", lambda extra: packages)
    code, found = doctor(command)
    assert code == 1
    assert found[packages[0].name]["hint"] == f'pip install "{packages[0].name}>=99"'


def test_little_disk_is_a_warning(
    site: Any, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12 - 10**6, 10**6))
    code, found = doctor(command)
    assert code == 0
    assert found["disk"]["status"] == "warning"
    assert "DATAFLOW_HOME" in found["disk"]["hint"]


def test_a_home_that_is_a_file(site: Any, command: Command) -> None:
    site.home.write_text("not a folder")
    code, found = doctor(command)
    assert code == 1
    assert "problem" in {found["disk"]["status"], found["dagster home"]["status"]}


def test_a_table_for_people(site: Any, command: Command) -> None:
    add(site, "broken", "source: {type: mokc}\n")
    outcome = command("doctor")
    assert outcome.code == 1
    assert outcome.stdout.splitlines()[0].split() == ["check", "status", "found"]
    assert "→ " not in outcome.stdout.splitlines()[1]
