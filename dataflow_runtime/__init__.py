"""Runtime of workflows rendered by dataflow-template.

A workflow registers its job with `register_workflow`. Discovery, configuration, the command line
and the Dagster code location build on that. Rendered workflows import the names below. Importing
this package imports neither Dagster nor Polars nor pydantic: `pipeline_ops`, `pipeline_assets` and
`run_workflow` are imported on first use.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dataflow_runtime.workflows.registry import register_workflow

if TYPE_CHECKING:
    from dataflow_runtime.orchestration.assets import pipeline_assets
    from dataflow_runtime.orchestration.ops import pipeline_ops
    from dataflow_runtime.orchestration.run import run_workflow

__all__ = ["__version__", "pipeline_assets", "pipeline_ops", "register_workflow", "run_workflow"]

__version__ = "0.3.0"

_IMPORTED_ON_FIRST_USE = {
    "pipeline_assets": "dataflow_runtime.orchestration.assets",
    "pipeline_ops": "dataflow_runtime.orchestration.ops",
    "run_workflow": "dataflow_runtime.orchestration.run",
}

# Nothing calls out unasked: each tool's own switch, where the user has not set it.
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
os.environ.setdefault("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
os.environ.setdefault("SEND_ANONYMOUS_USAGE_STATS", "no")  # Evidence


def __getattr__(name: str) -> Any:
    if name not in _IMPORTED_ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_IMPORTED_ON_FIRST_USE[name]), name)
