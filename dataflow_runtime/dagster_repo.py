"""The Dagster code location of all installed workflows: ``dagster dev -m dataflow_runtime.dagster_repo``.

``DATAFLOW_WORKFLOWS=a,b`` narrows it to these workflows.
"""

from dataflow_runtime.orchestration.dashboard_asset import with_dashboards
from dataflow_runtime.orchestration.definitions import build_definitions
from dataflow_runtime.settings import get_settings

__all__ = ["defs"]

settings = get_settings()
defs = with_dashboards(build_definitions(settings.workflows), settings)
