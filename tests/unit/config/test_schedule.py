from __future__ import annotations

import importlib
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_runtime.config import schedule
from dataflow_runtime.config.schedule import configured_cron, cron_problem
from dataflow_runtime.config.tree import Node, Source

GOOD = [
    "* * * * *",
    "*/15 0-6 1,15 * mon-fri",
    "0 0 29 2 *",
    "0 0 * jan,DEC sun",
    "5/10 * * * *",
    "@daily",
    "0 0 31 2 1",
]
BAD = [
    ("", "5 fields"),
    ("* * * *", "5 fields"),
    ("0 0 * * * *", "5 fields"),
    ("60 * * * *", "0 to 59"),
    ("* 24 * * *", "0 to 23"),
    ("* * 0 * *", "1 to 31"),
    ("* * * 13 *", "1 to 12"),
    ("* * * * 8", "0 to 7"),
    ("*/0 * * * *", "at least 1"),
    ("5-1 * * * *", "before it begins"),
    ("* * * foo *", "jan to dec"),
    ("1,,2 * * * *", "expected"),
    ("-5 * * * *", "expected"),
    ("@often", "@daily"),
    ("0 0 31 2 *", "never fires"),
    ("0 0 30,31 2 *", "never fires"),
    ("0 0 31 4,6,9,11 *", "never fires"),
]


@pytest.mark.parametrize("expression", GOOD)
def test_good(expression: str) -> None:
    assert cron_problem(expression) is None


@pytest.mark.parametrize(("expression", "message"), BAD)
def test_bad(expression: str, message: str) -> None:
    assert message in str(cron_problem(expression))


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ordered = st.tuples(number, number).map(sorted)
    part = st.one_of(
        st.just("*"),
        number.map(str),
        ordered.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.integers(1, high).map(lambda step: f"*/{step}"),
        st.tuples(ordered, st.integers(1, 5)).map(
            lambda both: f"{both[0][0]}-{both[0][1]}/{both[1]}"
        ),
    )
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


crons = st.tuples(
    numbers(0, 59), numbers(0, 23), numbers(1, 31), numbers(1, 12), numbers(0, 6)
).map(" ".join)


@given(crons)
@settings(max_examples=200, deadline=None)
def test_agrees_with_croniter(expression: str) -> None:
    croniter = importlib.import_module("croniter")
    fields = expression.split()
    if any(field.startswith("*") and field != "*" for field in fields[2::2]):
        return  # which of the day fields counts as restricted is a matter of taste there
    try:
        croniter.croniter(expression, datetime(2026, 1, 1), max_years_between_matches=10).get_next(
            datetime
        )
        fires = True
    except croniter.CroniterBadDateError:
        fires = False
    assert (cron_problem(expression) is None) == fires


SCHEDULES = [
    ("schedule:\n  cron: '0 5 * * *'\n", "0 5 * * *"),
    (
        "source:\n  type: mock\n\n"
        'schedule: # when\n  # daily\n  timezone: UTC\n\n  cron: "@daily"  # x\n'
        "retries:\n  delay: 1\n",
        "@daily",
    ),
    ("schedule:\n  cron: 0 5 * * *\n", "0 5 * * *"),
    ("schedule:\r\n  cron: 0 5 * * 1\r\nretries: {}\r\n", "0 5 * * 1"),
    ("schedule: {cron: '0 5 * * *'}\n", "0 5 * * *"),
    ("schedule:\n  cron: ${CRON:-0 6 * * *}\n", "0 6 * * *"),
    ('schedule:\n  cron: "${SET_CRON}"\n', "1 1 * * *"),
    ("schedule:\n  cron: ${UNSET_CRON}\n", None),
    ("schedule:\n  cron: null\n", None),
    ("schedule:\n  cron:\n", None),
    ("schedule:\n", None),
    ("source: {type: mock}\n", None),
    ("", None),
    ("x: &s {cron: '2 2 * * *'}\nschedule: *s\n", "2 2 * * *"),
    ('"schedule":\n  cron: "3 3 * * *"\n', "3 3 * * *"),
    ("{schedule: {cron: '4 4 * * *'}}\n", "4 4 * * *"),
    (
        "source:\n  name: |\n    schedule:\n      cron: no\nschedule:\n    cron: '5 5 * * *'\n",
        "5 5 * * *",
    ),
    ('schedule:\n  cron: "0 5 * * *', None),
    ("schedule:\n  cron: [\n", None),
]


@pytest.mark.parametrize(("text", "cron"), SCHEDULES)
def test_configured_cron(
    text: str, cron: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SET_CRON", "1 1 * * *")
    file = tmp_path / "config.yaml"
    file.write_bytes(text.encode())
    assert configured_cron("wf", file) == cron


def test_configured_cron_follows_the_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.yaml"
    assert configured_cron("wf", file) is None
    file.write_text("schedule:\n  cron: 1 * * * *\n")
    (tmp_path / "config.prod.yaml").write_text("schedule:\n  cron: 2 * * * *\n")
    assert configured_cron("wf", file) == "1 * * * *"
    assert configured_cron("wf", file, "prod") == "2 * * * *"
    assert configured_cron("wf", file, "other") == "1 * * * *"
    monkeypatch.setenv("DATAFLOW__WF__SCHEDULE", "{cron: 3 * * * *}")
    assert configured_cron("wf", file, "prod") == "3 * * * *"
    monkeypatch.setenv("DATAFLOW__WF__SCHEDULE__CRON", "4 * * * *")
    assert configured_cron("wf", file, "prod") == "4 * * * *"
    monkeypatch.delenv("DATAFLOW__WF__SCHEDULE")
    assert configured_cron("wf", file, "prod") == "4 * * * *"


def test_only_the_schedule_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = schedule._parsed

    def parse_schedule(source: Source) -> Node:
        assert source.text.startswith("schedule:")
        return parse(source)

    monkeypatch.setattr(schedule, "_parsed", parse_schedule)
    file = tmp_path / "config.yaml"
    for text, cron in SCHEDULES[:3]:
        file.write_text(text)
        assert configured_cron("wf", file) == cron
