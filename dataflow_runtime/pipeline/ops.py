"""The place of `pipeline_ops` up to release 0.3, for workflows rendered by then."""

from dataflow_runtime.orchestration.ops import pipeline_ops

__all__ = ["pipeline_ops"]
