"""Hostile input: it must not hang a command, cause a traceback, or control the terminal."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflow_runtime.config import ConfigError, ConfigManager, configured_cron
from dataflow_runtime.config.problems import render_problem

Install = Callable[..., Path]

MOCK = "source:\n  type: mock\n"


@pytest.fixture
def configs() -> ConfigManager:
    return ConfigManager()


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def endless(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def sparse(file: Path) -> None:
    os.truncate(file, 3_000_000_000)


def loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def spaces(file: Path) -> None:
    file.write_text(f'{MOCK}schedule:\n  cron: "5{" " * 60_000}* * * *"\n')


def brackets(file: Path) -> None:
    file.write_text("schedule: " + "[" * 400_000)


@pytest.mark.parametrize("change", [fifo, endless, sparse, loop, spaces, brackets])
def test_nothing_hangs(
    change: Callable[[Path], None], installed: Install, configs: ConfigManager
) -> None:
    file = installed("wf", MOCK)
    change(file)
    start = time.monotonic()
    configured_cron("wf", file)
    with pytest.raises(ConfigError):
        configs.load_config("wf")
    assert time.monotonic() - start < 5


def test_terminal_escapes_are_cleaned_everywhere(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    escape = "\x1b[2J\x9b\u202e"
    text = (
        'source:\n  type: "mo\\e[2Jck"\n  "ke\\e[2Jy": 1\n'
        'processing:\n  columns: {"\\e]0;x\\a": "\\e[2J"}\n  "\\u202e": 1\n'
    )
    installed("wf", text)
    monkeypatch.setenv(f"DATAFLOW__WF__X{escape}", escape)
    checked = configs.check("wf", overrides={f"a{escape}": escape, "schedule.timezone": escape})
    assert len(checked.problems) >= 6
    shown = "".join(render_problem(problem) for problem in checked.problems)
    dumped = json.dumps([problem.as_dict() for problem in checked.problems], ensure_ascii=False)
    for char in ("\x1b", "\x9b", "\u202e", "\a"):
        assert char not in shown + dumped


def test_half_a_character_is_an_error(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("wf", 'source:\n  type: mock\n  name: "\\uD800"\n')
    monkeypatch.setenv("DATAFLOW__WF__SCHEDULE__TIMEZONE", "\udcff")
    paths = [problem.path for problem in configs.check("wf").problems]
    assert paths == ["source.name", "schedule.timezone"]
    installed("keys", 'source: {type: mock}\nprocessing:\n  columns: {"\\uD800": string}\n')
    assert configs.check("keys").problems


def test_of_many_problems_the_first_are_shown(installed: Install, configs: ConfigManager) -> None:
    lines = "".join(f"  key{number}: 1\n" for number in range(3_000))
    installed("wf", MOCK + "processing:\n" + lines)
    start = time.process_time()
    problems = configs.check("wf").problems
    assert time.process_time() - start < 5
    assert len(problems) == 101
    assert problems[0].path == "processing.key0"
    assert problems[-1].message == "and 2,900 more problems"


def test_large_integers(installed: Install, configs: ConfigManager) -> None:
    installed("wf", f"source:\n  type: mock\n  mock:\n    seed: -{2**53 + 1}\n")
    assert configs.load_config("wf").source.mock.seed == -(2**53) - 1
    digits = "9" * 5_000
    problems = configs.check("wf", overrides={"source.mock.seed": digits}).problems
    assert [problem.path for problem in problems] == ["source.mock.seed"]


def test_an_environment_of_5000_characters(installed: Install, configs: ConfigManager) -> None:
    installed("wf", MOCK)
    with pytest.raises(Exception, match="expected letters, digits") as caught:
        configs.load_config("wf", env="x" * 5_000)
    assert len(str(caught.value)) < 300
