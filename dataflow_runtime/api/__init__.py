"""The REST API over the installed workflows. Its routes call what the commands call.

It imports no workflow, and Dagster only when a route needs runs.
"""

from dataflow_runtime.api.app import LOOPBACK, create_app
from dataflow_runtime.api.middleware import JsonFormatter

__all__ = ["LOOPBACK", "JsonFormatter", "create_app"]
