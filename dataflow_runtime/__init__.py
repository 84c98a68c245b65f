"""Runtime of workflows rendered by dataflow-template.

A workflow registers its job with `register_workflow`; everything else (discovery, configuration, command line, one
Dagster code location) follows from that. Importing this package imports neither Dagster nor Polars nor pydantic.
"""

from dataflow_runtime.registry import register_workflow

__all__ = ["__version__", "register_workflow"]

__version__ = "0.3.0"
