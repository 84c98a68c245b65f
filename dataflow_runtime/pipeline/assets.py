"""The place of `pipeline_assets` up to release 0.3, for workflows rendered by then."""

from dataflow_runtime.orchestration.assets import pipeline_assets

__all__ = ["pipeline_assets"]
