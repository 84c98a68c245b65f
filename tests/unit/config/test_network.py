"""Network input: candidates must not read the environment, overrides must not redirect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataflow_runtime.config import ConfigManager, refused_overrides

Install = Callable[..., Path]

MOCK = "source:\n  type: mock\n"
PLANTED = "AKIA-planted"
API = """\
source:
  type: api
  api:
    url: https://example.org
    auth: {type: bearer, token: x}
"""


@pytest.fixture
def configs() -> ConfigManager:
    return ConfigManager()


@pytest.mark.parametrize(
    "text",
    [
        MOCK + "schedule:\n  timezone: ${PLANTED}\n",
        MOCK + "schedule:\n  cron: ${PLANTED}\n",
        MOCK
        + "schedule: {timezone: 'x${PLANTED:-y}', cron: '${PLANTED}', partitions: '${PLANTED}'}\n",
        MOCK + "processing:\n  batch_size: ${PLANTED}\n",
        MOCK + "processing:\n  columns: {a: '${PLANTED}'}\n  cursor: {column: '${PLANTED}'}\n",
        MOCK + "output:\n  table: ${PLANTED}\n  schema: ${PLANTED}\n",
        "source:\n  type: ${PLANTED}\n",
        API.replace("bearer", "'${PLANTED}'"),
        API + "    timeout: ${PLANTED:+alternative}\n",
    ],
)
def test_a_candidate_never_shows_a_variable(
    text: str, installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", PLANTED)
    monkeypatch.setenv("DATAFLOW__WF__OUTPUT__TABLE", PLANTED)
    installed("wf", MOCK)
    checked = configs.validate_candidate("wf", text)
    assert checked.valid, checked.problems
    broken = configs.validate_candidate("wf", text + "unknown: ${PLANTED}\n")
    assert [problem.path for problem in broken.problems] == ["unknown"]
    assert PLANTED not in repr(checked) + repr(broken)


def test_a_candidate_is_validated_beside_its_variables(
    installed: Install, configs: ConfigManager
) -> None:
    file = installed("wf", MOCK)
    file.with_name("config.prod.yaml").write_text("retries:\n  delay: x\n")
    text = (
        MOCK + "processing:\n  batch_size: ${N}\n  max_rejected_ratio: 2\noutput:\n  table: ${T\n"
    )
    problems = configs.validate_candidate("wf", text).problems
    assert [(problem.path, problem.line) for problem in problems] == [
        ("processing.max_rejected_ratio", 5),
        ("output.table", 7),
    ]
    assert [
        problem.path for problem in configs.validate_candidate("wf", MOCK, env="prod").problems
    ] == ["retries.delay"]


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        ({"source.api.url": "http://attacker/"}, ["source.api.url"]),
        (
            {"source.api": {"url": "http://attacker/", "timeout": 3}},
            ["source.api.url", "source.api.timeout"],
        ),
        ({"source.api": "{url: http://attacker/}"}, ["source.api.url"]),
        ({"source": {"api": {"auth": {"type": "bearer"}, "headers": {"X": "y"}}}},
         ["source.api.auth.type", "source.api.headers.X"]),
        ({"output.postgres.url": "postgresql://attacker/"}, ["output.postgres.url"]),
        ({"output": {}}, ["output"]),
        ({"api.overridable": ["*"], "source.type": "file"}, ["api.overridable", "source.type"]),
        ({"processing.batch_size": 5, "source.mock": {"rows": 3}}, []),
        ({"processing": {"columns": {"a": "integer"}}}, []),
    ],
)  # fmt: skip
def test_an_override_of_the_api_redirects_nothing(
    overrides: dict[str, object], refused: list[str], installed: Install, configs: ConfigManager
) -> None:
    installed("wf", API)
    assert refused_overrides(configs.load_config("wf"), overrides) == refused


def test_a_config_says_what_the_api_may_override(
    installed: Install, configs: ConfigManager
) -> None:
    installed("wf", API + "api:\n  overridable: [source.api.params.*, retries.delay]\n")
    config = configs.load_config("wf")
    allowed = {"source.api.params": {"day": "2026-01-01"}, "retries.delay": 2}
    assert refused_overrides(config, allowed) == []
    assert refused_overrides(config, {"retries": {"delay": 1, "backoff": "none"}}) == [
        "retries.backoff"
    ]
