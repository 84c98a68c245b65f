"""Where releases up to 0.3 had `run_workflow`; workflows rendered by them import it from here."""

from dataflow_runtime.orchestration.run import run_workflow

__all__ = ["run_workflow"]
