"""Where releases up to 0.3 had `pipeline_ops`; workflows rendered by them import it from here."""

from dataflow_runtime.orchestration.ops import pipeline_ops

__all__ = ["pipeline_ops"]
