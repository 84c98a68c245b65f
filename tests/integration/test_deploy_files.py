"""The files of docs/deploy, checked without a container engine: what they name exists."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dagster._core.instance.config import dagster_instance_config
from dagster._core.workspace.config_schema import process_workspace_config
from ruamel.yaml import YAML

from dataflow_runtime.settings import Settings

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
FILES = sorted(file.name for file in DEPLOY.iterdir())


def load(name: str) -> Any:
    return YAML(typ="safe").load(DEPLOY / name)


def test_the_files_that_the_docs_name_are_there() -> None:
    docs = (DEPLOY.parent / "how-to" / "deploy.md").read_text()
    assert sorted(set(re.findall(r"\(\.\./deploy/([\w.]+)\)", docs))) == FILES


def test_the_instance_is_valid_and_limits_runs_as_a_new_home_does(tmp_path: Path) -> None:
    value, _ = dagster_instance_config(str(DEPLOY))
    settings = Settings(home=tmp_path)
    settings.make_home()
    home, _ = dagster_instance_config(str(settings.dagster_home))
    assert value["run_coordinator"] == home["run_coordinator"]
    limits = [config["concurrency"]["runs"]["tag_concurrency_limits"] for config in (value, home)]
    assert limits[0] == limits[1]
    (helm,) = load("values.yaml")["dagsterDaemon"]["runCoordinator"]["config"][
        "queuedRunCoordinator"
    ]["tagConcurrencyLimits"]
    assert [helm] == limits[0]


def test_the_workspace_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_CODE_HOST", "localhost")
    monkeypatch.setenv("DAGSTER_CODE_PORT", "4000")
    assert process_workspace_config(load("workspace.yaml")).success


@pytest.mark.parametrize("file", FILES)
def test_every_variable_of_ours_is_a_setting(file: str) -> None:
    known = {f"DATAFLOW_{name.upper()}" for name in Settings.model_fields}
    used = set(re.findall(r"\bDATAFLOW_[A-Z]+\b", (DEPLOY / file).read_text()))
    assert used <= known


def commands() -> list[list[str]]:
    services = load("compose.yaml")["services"]
    found = [service["command"] for service in services.values() if "command" in service]
    found += [service["healthcheck"]["test"][1:] for service in services.values()]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    found += [
        shlex.split(line.removeprefix("RUN "))
        for line in re.findall(r"^RUN dataflow-runtime .*$", dockerfile, re.M)
    ]
    found += [
        shlex.split(re.sub(r"[\[\],]", " ", line))
        for line in re.findall(r"^CMD (.*)$", dockerfile, re.M)
    ]
    return [command for command in found if command[0].startswith(("dagster", "dataflow"))]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_takes_its_options(command: list[str]) -> None:
    outcome = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:], "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    for option in (word for word in command if word.startswith("-")):
        assert re.search(rf"(^|[\s,]){option}\b", outcome.stdout), f"{option} in {outcome.stdout}"


def test_what_compose_starts_is_what_workspace_and_instance_ask_for() -> None:
    variables = set(load("compose.yaml")["x-dataflow"]["environment"])
    asked = set(
        re.findall(
            r"env: (\w+)",
            (DEPLOY / "dagster.yaml").read_text() + (DEPLOY / "workspace.yaml").read_text(),
        )
    )
    assert asked == variables
    (deployment,) = load("values.yaml")["dagster-user-deployments"]["deployments"]
    module = deployment["codeServerArgs"][-1]
    assert importlib.util.find_spec(module) is not None
