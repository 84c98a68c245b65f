"""Tables, errors and JSON in terminals of any width, without colours, and with hostile text."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from dataflow_runtime.cli.output import clean, print_error, print_json, print_table

Terminal = Callable[..., None]
RUN = "24e6bf0c-281b-4a9a-ab89-ad1c23b592c1"
PROSE = "Earthquakes of the last seven days, from the feed of the USGS"
HEADER = ("workflow", "run", "status", "description")
ROWS = [("orders", RUN, "ok", PROSE), ("a_workflow_with_a_long_name", "–", "broken", "Short")]


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [120, 90, 80, 40])
def test_a_table_fits_the_terminal_and_cuts_nothing(
    columns: int,
    terminal: Terminal,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal(columns)
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(ROWS, header=HEADER)
    text = shown(capsys)
    longest = len(RUN) + len("  run: ")
    assert max(map(len, text.splitlines())) <= max(columns, longest)
    words = set(text.split())
    assert {RUN, "a_workflow_with_a_long_name", "broken"} <= words
    assert set(PROSE.split()) <= words
    assert "…" not in text


def test_a_table_without_a_terminal_has_one_line_for_each_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table([*ROWS, ("wide", "–", "ok", "word " * 100)], header=HEADER)
    lines = shown(capsys).splitlines()
    assert len(lines) == 4
    assert all(line == line.rstrip() for line in lines)


def test_wide_characters_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([("地震", "x"), ("abcd", "y")])
    assert shown(capsys) == "地震  x\nabcd  y\n"


def test_statuses_have_colours_in_a_terminal(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(80)
    print_table([("orders", "ok")])
    assert "\x1b[32mok\x1b[0m" in shown(capsys)


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_escape_is_printed_where_none_is_wanted(
    variable: str,
    value: str,
    terminal: Terminal,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal(80)
    monkeypatch.setenv(variable, value)
    print_table([("orders", "ok")], header=("workflow", "status"))
    print_error("it failed", "try again")
    outcome = capsys.readouterr()
    assert "\x1b" not in outcome.out + outcome.err
    assert outcome.err == "error: it failed\nhint: try again\n"


ESCAPES = "a\x1b[2Jb\x07c\x9b31md\u202ee\rf\x00g"


def test_text_from_elsewhere_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert clean(ESCAPES) == "a�[2Jb�c�31md�e�f�g"
    print_table([(ESCAPES, ESCAPES)], header=("x", ESCAPES))
    print_error(ESCAPES, ESCAPES)
    outcome = capsys.readouterr()
    assert not any(char in outcome.out + outcome.err for char in "\x1b\x07\x9b\u202e\r\x00")


def test_json_escapes_what_a_terminal_would_obey_and_keeps_the_value(
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = {"é": [ESCAPES, "\ud800", "\U000e0001"]}
    print_json(value)
    text = shown(capsys)
    assert "é" in text
    assert all(char.isprintable() for char in text.replace("\n", ""))
    assert json.loads(text) == value
