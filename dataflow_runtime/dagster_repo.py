"""The Dagster code location of all installed workflows: ``dagster dev -m dataflow_runtime.dagster_repo``.

``DATAFLOW_WORKFLOWS=a,b`` narrows it to these workflows.
"""

from dataflow_runtime import telemetry
from dataflow_runtime.definitions import build_definitions
from dataflow_runtime.settings import get_settings

__all__ = ["defs"]

telemetry.turn_off()

defs = build_definitions(get_settings().workflows)
