"""Turns the telemetry of the tools underneath off by default: nothing calls out unasked."""

from __future__ import annotations

import os

__all__ = ["turn_off"]

_OFF = {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "SEND_ANONYMOUS_USAGE_STATS": "no",  # Evidence
}


def turn_off() -> None:
    """Set each tool's own switch in the environment, where the user has not set it."""
    for variable, value in _OFF.items():
        os.environ.setdefault(variable, value)
