"""Models that workflows bring."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime.config import ConfigManager

Install = Callable[..., Path]

MOCK = "source:\n  type: mock\n"


@pytest.fixture
def configs() -> ConfigManager:
    return ConfigManager()


def entry(name: str) -> str:
    return f"[dataflow.config_models]\n{name} = {name}.settings:Own\n"


def test_any_type_of_pydantic(installed: Install, configs: ConfigManager) -> None:
    model = """
import datetime, enum, pathlib
from typing import Any
from pydantic import SecretStr
from dataflow_runtime.config import WorkflowConfig
class Color(enum.Enum):
    red = "red"
class Own(WorkflowConfig):
    pair: tuple[int, str]
    words: set[str]
    at: datetime.datetime
    wait: datetime.timedelta
    folder: pathlib.Path
    color: Color
    keys: tuple[SecretStr, ...] = ()
"""
    text = """
pair: [1, a]
words: [x, y]
at: 2026-01-31T12:00:00Z
wait: PT90S
folder: /tmp
color: red
keys: [hunter2-one]
"""
    file = installed("wf", MOCK + text, entry_points=entry("wf"), settings=model)
    config: Any = configs.load_config("wf")
    assert config.pair == (1, "a")
    assert config.words == {"x", "y"}
    assert config.at == dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
    assert config.wait == dt.timedelta(seconds=90)
    assert config.folder == Path("/tmp")
    assert config.color.name == "red"
    assert "hunter2" not in repr(configs.show("wf").config)
    file.write_text(MOCK + text.replace("[1, a]", "[1]").replace("color: red", "color: blue"))
    problems = configs.check("wf").problems
    assert [problem.path for problem in problems] == ["pair.1", "color"]


@pytest.mark.parametrize(
    "failure", ["raise KeyError(value)", "1 / 0", "raise RuntimeError('token ' + value)"]
)
@pytest.mark.parametrize("mode", ["before", "after"])
def test_a_validator_that_fails_is_the_error_of_one_workflow(
    failure: str, mode: str, installed: Install, configs: ConfigManager
) -> None:
    model = f"""
from pydantic import field_validator
from dataflow_runtime.config import WorkflowConfig
class Own(WorkflowConfig):
    token: str
    @field_validator("token", mode="{mode}")
    @classmethod
    def _check(cls, value):
        {failure}
"""
    installed("wf", MOCK + "token: hunter2-x\n", entry_points=entry("wf"), settings=model)
    installed("good", MOCK)
    problems = configs.check("wf").problems
    assert "the model Own failed" in problems[0].message
    assert "hunter2" not in repr(problems)
    assert configs.check("good").valid


def test_a_validator_that_shows_the_secret(installed: Install, configs: ConfigManager) -> None:
    model = """
from pydantic import field_validator, model_validator
from dataflow_runtime.config import ConfigModel, WorkflowConfig
class Login(ConfigModel):
    password: str
    @model_validator(mode="after")
    def _check(self):
        raise ValueError(f"{self.password} is too weak")
class Own(WorkflowConfig):
    login: Login
"""
    text = "login: {password: hunter2-x}\n"
    installed("wf", MOCK + text, entry_points=entry("wf"), settings=model)
    problems = configs.check("wf").problems
    assert [problem.path for problem in problems] == ["login"]
    assert "is too weak" in problems[0].message
    assert "hunter2" not in repr(problems)


def test_an_override_completes_a_config_that_is_not_valid_alone(
    installed: Install, configs: ConfigManager
) -> None:
    installed("wf", "source:\n  type: file\nprocessing:\n  batch_size: ${UNSET}\n")
    overrides = {"source.file.path": "rows.csv", "processing.batch_size": "5"}
    config = configs.load_config("wf", overrides=overrides)
    assert (config.source.file and config.source.file.path) == "rows.csv"
    assert config.processing.batch_size == 5
