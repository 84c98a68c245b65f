"""What a run was asked for, as its run config says it to the extract op. Imports nothing."""

from __future__ import annotations

from typing import Any

__all__ = ["overrides", "run_overrides"]


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
