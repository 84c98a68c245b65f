"""What a run was asked for, as its run config says it to the extract op."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dataflow_runtime.config import Window
from dataflow_runtime.errors import UsageError

__all__ = ["overrides", "parse_window", "run_overrides"]


def overrides(op_config: Any) -> dict[str, Any]:
    """Return the overrides in the config of an extract op."""
    op_config = op_config or {}
    return {"env": op_config.get("env"), "overrides": dict(op_config.get("set") or {})}


def run_overrides(run_config: Any) -> dict[str, Any]:
    """Return the overrides of a run: those of its extract op, wherever that stands in the job."""
    for name, node in ((run_config or {}).get("ops") or {}).items():
        if name.endswith("_extract"):
            return overrides(node.get("config"))
        if "ops" in node and (found := run_overrides(node)) != overrides(None):
            return found
    return overrides(None)


def parse_window(start: str | None, end: str | None) -> Window | None:
    """Return the half-open window between two ISO 8601 times, UTC where they name no offset; None where both are None.

    Raises:
        UsageError: One of them is no time, or the window is empty.
    """
    if start is None and end is None:
        return None
    window = Window(start=_parse_time("from", start), end=_parse_time("to", end))
    if window.start is not None and window.end is not None and window.start >= window.end:
        raise UsageError(
            f"no time lies between from {start} and to {end}",
            hint="'from' is included, 'to' is not: it comes later",
        )
    return window


def _parse_time(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{name}: {text!r} is no time",
            hint="ISO 8601, for example 2026-01-31 or 2026-01-31T06:00+01:00",
        ) from None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
