"""Cron expressions without a dependency, and the schedule that a config sets without loading it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from dataflow_runtime.config.core_schema import typed_scalar
from dataflow_runtime.config.interpolation import InterpolationError, interpolate
from dataflow_runtime.config.problems import ConfigError
from dataflow_runtime.config.tree import Node, Source, defaults_file, read_source

_ALIASES = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"]
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?:(\*)|([a-z0-9]+)(?:-([a-z0-9]+))?)(?:/([0-9]+))?")


def cron_problem(expression: str) -> str | None:
    """Return why this is not a cron expression that fires, or None.

    Five fields (minute, hour, day of month, month, day of week) of ``*``, numbers, names, ranges,
    steps and lists, or an alias such as ``@daily``. Days 0 and 7 are Sunday; where both day fields
    are restricted, either one fires.
    """
    fields = expression.lower().split()
    if expression.lstrip().startswith("@"):
        known = len(fields) == 1 and fields[0] in _ALIASES
        return None if known else f"expected one of {', '.join(_ALIASES)}"
    if len(fields) != len(_FIELDS):
        return "expected 5 fields (minute hour day-of-month month day-of-week)"
    values: list[set[int]] = []
    for text, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        try:
            values.append(_field(text, low, high, names))
        except ValueError as error:
            return f"{name} {text!r}: {error}"
    first = min(values[2])
    if fields[4].startswith("*") and all(first > _LONGEST_MONTH[month - 1] for month in values[3]):
        return f"never fires: no such month has a day {first}"
    return None


def _field(text: str, low: int, high: int, names: list[str]) -> set[int]:
    def number(word: str) -> int:
        if word in names:
            return names.index(word) + low
        if not word.isdecimal() or not low <= int(word) <= high:
            or_names = f" or {names[0]} to {names[-1]}" if names else ""
            raise ValueError(f"expected {low} to {high}{or_names}")
        return int(word)

    found: set[int] = set()
    for part in text.split(","):
        matched = _PART.fullmatch(part)
        if matched is None:
            raise ValueError("expected '*', a number, a range 'a-b' or a step '*/n'")
        every, begin, end, step = matched.groups()
        first = low if every else number(begin)
        last = high if every or step else first
        if end:
            last = number(end)
        if step and int(step) < 1:
            raise ValueError("a step is at least 1")
        if first > last:
            raise ValueError(f"the range ends before it begins ({first} to {last})")
        found.update(range(first, last + 1, int(step or 1)))
    return found


# The line `schedule:` and what is indented, empty or a comment below it.
_BLOCK = re.compile(r"^schedule:.*(?:\n(?:[ \t#].*|\r?(?=\n)))*", re.MULTILINE)


def configured_cron(name: str, config_file: Path, env: str | None = None) -> str | None:
    """Return the ``schedule.cron`` that a run of workflow `name` would use, None where it has none.

    For listings of hundreds of workflows: parses only the ``schedule`` block of the files, and
    imports no pydantic. What cannot be read is None: `config validate` says what is wrong.
    """
    prefix = f"DATAFLOW__{name.upper()}__SCHEDULE"
    if cron := os.environ.get(f"{prefix}__CRON"):
        return cron.strip("\"' ")
    try:
        for schedule in _schedules(os.environ.get(prefix), config_file, env):
            cron_node = schedule.value.get("cron") if isinstance(schedule.value, dict) else None
            if cron_node is not None and not cron_node.is_empty:
                text = str(cron_node.value)
                if cron_node.source.is_file:
                    result = interpolate(text, os.environ)
                    text = "" if result.missing else result.text
                is_null = cron_node.plain and typed_scalar(text) is None
                return None if is_null else text.strip() or None
    except (ConfigError, InterpolationError):
        return None
    return None


def _schedules(variable: str | None, config_file: Path, env: str | None) -> Iterator[Node]:
    """Yield the ``schedule`` section of each layer, the one that wins first."""
    if variable is not None:
        yield _parsed(Source("environment", variable))
    files = [config_file]
    if env and re.fullmatch(r"[\w-]+", env):
        files.insert(0, config_file.with_name(f"config.{env}.yaml"))
    if defaults := defaults_file():
        files.append(defaults)
    for file in files:
        if not file.exists():
            continue
        text = read_source(file, "file").text
        if "schedule" not in text:
            continue
        blocks = _BLOCK.findall(text)
        root = None
        if len(blocks) == 1:
            with contextlib.suppress(ConfigError):  # an alias of something outside of the block
                root = _parsed(Source("file", blocks[0]))
        root = root or _parsed(Source("file", text))
        if isinstance(root.value, dict) and "schedule" in root.value:
            yield root.value["schedule"]


@lru_cache(1024)
def _parsed(source: Source) -> Node:
    # Cached, as workflows of a fleet often have the same schedule. Imported here, as importing the
    # parser takes longer than listing workflows without a schedule.
    from dataflow_runtime.config.yaml import parse_yaml

    return parse_yaml(source, any_value=True)
