"""Where releases up to 0.3 had `pipeline_assets`; workflows rendered by them import it from here."""

from dataflow_runtime.orchestration.assets import pipeline_assets

__all__ = ["pipeline_assets"]
