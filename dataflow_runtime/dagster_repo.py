"""The Dagster code location of all installed workflows, with one repository for each.

``dagster dev -m dataflow_runtime.dagster_repo``. ``DATAFLOW_WORKFLOWS=a,b`` narrows it.
"""

# Any other name in this module would hide a workflow of that name.
from dataflow_runtime.orchestration.location import repository as __getattr__
from dataflow_runtime.orchestration.location import repository_names as __dir__

__all__ = ["__dir__", "__getattr__"]
