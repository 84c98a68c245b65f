"""The REST API over the installed workflows: routers that call what the commands call."""

from dataflow_runtime.api.app import create_app

__all__ = ["create_app"]
