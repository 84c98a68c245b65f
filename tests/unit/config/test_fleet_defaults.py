"""One file gives the configurations of all workflows their defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime.config import ConfigError, config_manager
from dataflow_runtime.config.schedule import configured_cron


def test_one_line_changes_a_hundred_workflows(installed: Any, tmp_path: Path) -> None:
    for number in range(100):
        installed(f"wf_{number}", "source: {type: mock}\n")
    installed("own", "source: {type: mock}\nretries: {max_retries: 9}\n")
    defaults = tmp_path / "dataflow.yaml"
    for retries in (2, 5):
        defaults.write_text(f"retries:\n  max_retries: {retries}\n  delay: 30\n")
        for number in range(100):
            assert config_manager.load_config(f"wf_{number}").retries.max_retries == retries
        own = config_manager.load_config("own").retries
        assert (own.max_retries, own.delay) == (9, 30)
    defaults.unlink()
    assert config_manager.load_config("wf_1").retries.max_retries == 0


def test_origins_name_the_file_and_the_line(installed: Any, tmp_path: Path) -> None:
    installed("wf", "source: {type: mock}\nretries: {delay: 5}\n")
    defaults = tmp_path / "dataflow.yaml"
    defaults.write_text("retries:\n  max_retries: ${TRIES:-3}\n  delay: 30\n")
    origins = config_manager.show("wf").origins
    retries = origins["retries.max_retries"]
    assert (retries.layer, retries.file, retries.line) == ("fleet", str(defaults), 2)
    assert retries.variable == "TRIES"
    assert origins["retries.delay"].layer == "file"
    assert origins["retries.backoff"].layer == "default"


def test_the_nearest_file_upwards_or_the_one_that_is_named(
    installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("wf", "source: {type: mock}\n")
    below = tmp_path / "team" / "project"
    below.mkdir(parents=True)
    (tmp_path / "dataflow.yaml").write_text("retries: {max_retries: 1}\n")
    monkeypatch.chdir(below)
    assert config_manager.load_config("wf").retries.max_retries == 1
    (tmp_path / "team" / "dataflow.yaml").write_text("retries: {max_retries: 2}\n")
    assert config_manager.load_config("wf").retries.max_retries == 2
    (tmp_path / "named.yaml").write_text("retries: {max_retries: 3}\n")
    monkeypatch.setenv("DATAFLOW_DEFAULTS", str(tmp_path / "named.yaml"))
    assert config_manager.load_config("wf").retries.max_retries == 3


def test_the_schedule_that_a_listing_shows(installed: Any, tmp_path: Path) -> None:
    own = installed("own", "source: {type: mock}\nschedule: {cron: '0 1 * * *'}\n")
    other = installed("other", "source: {type: mock}\n")
    (tmp_path / "dataflow.yaml").write_text("schedule: {cron: '@daily', timezone: Europe/Rome}\n")
    assert configured_cron("own", own) == "0 1 * * *"
    assert configured_cron("other", other) == "@daily"
    schedule = config_manager.load_config("own").schedule
    assert (schedule.cron, schedule.timezone) == ("0 1 * * *", "Europe/Rome")


def test_a_mistake_names_the_file(
    installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("wf", "source: {type: mock}\n")
    (tmp_path / "dataflow.yaml").write_text("retries: {max_retry: 2}\n")
    [problem] = config_manager.check("wf").problems
    assert (problem.file, problem.line, problem.path) == (
        str(tmp_path / "dataflow.yaml"),
        1,
        "retries.max_retry",
    )
    monkeypatch.setenv("DATAFLOW_DEFAULTS", "absent.yaml")
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        config_manager.load_config("wf")
