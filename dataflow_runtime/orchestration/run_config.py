"""The options of a run (overlay, overrides, window) in Dagster's run config: written and read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from dataflow_runtime.config import Window
from dataflow_runtime.errors import UsageError

__all__ = ["find_node", "parse_window", "run_config", "run_overrides", "step_overrides"]


def run_config(job: dg.JobDefinition, workflow: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return run config with the options for the extract op, wherever the job has it.

    Raises:
        UsageError: There are options, and the job has no such op.
    """
    given = {key: value for key, value in options.items() if value}
    if not given:
        return {}
    path = find_node(job.graph, f"{workflow}_extract")
    if path is None:
        raise UsageError(
            f"workflow {workflow!r} has no op {workflow}_extract, "
            "which takes --set, --env, --from and --to",
            hint="build its job from pipeline_ops or pipeline_assets, or set DATAFLOW__ variables",
        )
    config: dict[str, Any] = {"config": given}
    for node in reversed(path):
        config = {"ops": {node: config}}
    return config


def step_overrides(op_config: Any) -> dict[str, Any]:
    """Return the overlay and the overrides in the config of an extract op."""
    op_config = op_config or {}
    return {"env": op_config.get("env"), "overrides": dict(op_config.get("set") or {})}


def run_overrides(config: Any) -> dict[str, Any]:
    """Return the overlay and the overrides of a run: those of its extract op."""
    for name, node in ((config or {}).get("ops") or {}).items():
        if name.endswith("_extract"):
            return step_overrides(node.get("config"))
        found = run_overrides(node)
        if found != step_overrides(None):
            return found
    return step_overrides(None)


def parse_window(start: str | None, end: str | None) -> Window | None:
    """Return the half-open window between two ISO 8601 times, UTC where they have no offset.

    None where both are None.

    Raises:
        UsageError: One of them is not a time, or the window is empty.
    """
    if start is None and end is None:
        return None
    window = Window(start=_parse_time("from", start), end=_parse_time("to", end))
    if window.start is not None and window.end is not None and window.start >= window.end:
        raise UsageError(
            f"the window from {start} to {end} is empty",
            hint="'from' is included, 'to' is not, so 'to' has to be later",
        )
    return window


def _parse_time(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{name}: {text!r} is not a time",
            hint="ISO 8601, for example 2026-01-31 or 2026-01-31T06:00+01:00",
        ) from None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def find_node(graph: dg.GraphDefinition, op: str) -> list[str] | None:
    """Return the names of the nodes that lead to an op, its own last; None where it is not."""
    for node in graph.nodes:
        if node.definition.name == op:
            return [node.name]
        if isinstance(node.definition, dg.GraphDefinition):
            path = find_node(node.definition, op)
            if path:
                return [node.name, *path]
    return None
