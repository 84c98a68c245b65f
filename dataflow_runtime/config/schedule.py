"""Cron expressions without a dependency, and the schedule that a config sets without loading the config."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["configured_cron", "cron_problem"]

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(
    r"(?P<any>\*)?(?:(?P<low>[a-z0-9]+)(?:-(?P<high>[a-z0-9]+))?)?(?:/(?P<step>[0-9]+))?"
)


def cron_problem(expression: str) -> str | None:
    """Return why this is not a cron expression that fires, or None.

    Five fields (minute, hour, day of month, month, day of week) of ``*``, numbers, names, ranges, steps and lists, or
    an alias such as ``@daily``. Day 0 and 7 are Sunday; where both day fields are restricted, either one fires.
    """
    fields = _ALIASES.get(expression.strip().lower(), expression).lower().split()
    if len(fields) != len(_FIELDS):
        if expression.strip().startswith("@"):
            return f"expected one of {', '.join(_ALIASES)}"
        return (
            f"expected 5 fields (minute hour day-of-month month day-of-week), found {len(fields)}"
        )
    values: list[set[int]] = []
    for text, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        try:
            values.append(_field(text, low, high, names))
        except ValueError as error:
            return f"{name} {text!r}: {error}"
    days, months = values[2], values[3]
    if fields[4].startswith("*") and not any(
        min(days) <= _LONGEST_MONTH[month - 1] for month in months
    ):
        return f"never fires: no such month has a day {min(days)}"
    return None


def _field(text: str, low: int, high: int, names: tuple[str, ...]) -> set[int]:
    def number(word: str) -> int:
        if word in names:
            return names.index(word) + low
        if not word.isdecimal() or not low <= int(word) <= high:
            raise ValueError(
                f"expected {low} to {high}" + (f" or {names[0]} to {names[-1]}" if names else "")
            )
        return int(word)

    found: set[int] = set()
    for part in text.split(","):
        matched = _PART.fullmatch(part)
        if matched is None or not part or bool(matched["any"]) == bool(matched["low"]):
            raise ValueError("expected '*', a number, a range 'a-b' or a step '*/n'")
        first = low if matched["any"] else number(matched["low"])
        last = (
            number(matched["high"])
            if matched["high"]
            else high
            if matched["any"] or matched["step"]
            else first
        )
        step = int(matched["step"] or 1)
        if step < 1:
            raise ValueError("a step is at least 1")
        if first > last:
            raise ValueError(f"the range ends before it begins ({first} to {last})")
        found.update(range(first, last + 1, step))
    return found


# A `schedule:` block of simple `key: value` lines, as the template renders it. Everything else is parsed in full.
_BLOCK = re.compile(
    r"^schedule:[ \t]*(?:#.*)?\r?\n((?:[ ]+.*\r?\n|[ ]*#.*\r?\n|[ \t]*\r?\n)*)", re.MULTILINE
)
_LINE = re.compile(
    r"""[ ]+(?P<key>[A-Za-z_]\w*):(?:[ ]+(?:"(?P<double>[^"\\]*)"|'(?P<single>[^']*)'|(?P<plain>[^\s"'#&*!|>%@`{}\[\],?:-][^#]*?)))?[ ]*(?:[ ]\#.*)?"""
)
_TOP_LEVEL = re.compile(r"[A-Za-z_][\w-]*:(?:\s|$)|#|\s|---(?:\s|$)|$")


def configured_cron(name: str, config_file: Path, env: str | None = None) -> str | None:
    """Return the ``schedule.cron`` that a run of workflow `name` would use, None where no layer sets it.

    Made for listings of hundreds of workflows: reads only the ``schedule`` block of ``config.yaml`` and its overlay,
    without a YAML parser, where it can tell it apart for certain. Never raises: a config that cannot be read is None.
    """
    prefix = f"DATAFLOW__{name.upper()}__SCHEDULE"
    try:
        if prefix in os.environ:
            return _loaded_cron(name, config_file, env)
        if (value := os.environ.get(f"{prefix}__CRON")) is not None:
            return value.strip("\"' ") or None
        for file in ([config_file.with_name(f"config.{env}.yaml")] if env else []) + [config_file]:
            try:
                text = file.read_text(encoding="utf-8-sig")
            except FileNotFoundError:
                continue
            found = _sliced_cron(text)
            if found is _UNCERTAIN:
                return _loaded_cron(name, config_file, env)
            if found is not None:
                return found
    except Exception:
        # A listing shows what it can; `config validate` says what is wrong.
        return None
    return None


_UNCERTAIN = "\0"


def _sliced_cron(text: str) -> str | None:
    if "schedule" not in text:
        return None
    if not all(_TOP_LEVEL.match(line) for line in text.splitlines()):
        return _UNCERTAIN
    blocks = [*_BLOCK.finditer(text if text.endswith("\n") else text + "\n")]
    if len(blocks) != 1:
        return _UNCERTAIN
    cron: str | None = None
    for line in blocks[0][1].splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        matched = _LINE.fullmatch(line)
        if matched is None:
            return _UNCERTAIN
        if matched["key"] == "cron":
            cron = next(
                (
                    matched[kind]
                    for kind in ("double", "single", "plain")
                    if matched[kind] is not None
                ),
                None,
            )
            if cron is None or (matched["plain"] and cron.strip() in ("null", "Null", "NULL", "~")):
                return _UNCERTAIN
    if cron is not None and "$" in cron:
        from dataflow_runtime.config.interpolation import interpolate

        result = interpolate(cron, os.environ)
        return None if result.missing else result.text.strip()
    return cron.strip() if cron is not None else None


def _loaded_cron(name: str, config_file: Path, env: str | None) -> str | None:
    from dataflow_runtime.config.layers import layered

    schedule = layered(name, config_file, env, os.environ).resolved(os.environ).get("schedule")
    cron = schedule.get("cron") if isinstance(schedule, dict) else None
    return cron if isinstance(cron, str) else None
