"""What one step of a run hands the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dataflow_runtime.config import Window

__all__ = ["Manifest"]


@dataclass(frozen=True)
class Manifest:
    """What one step hands the next: small and picklable. The rows stand in Parquet files below `staging`.

    Attributes:
        run_id: The run that extracted the rows; a re-execution keeps it.
        staging: Folder or URL of the run's files.
        load_id: What the rows of an append without a cursor are known by in the warehouse.
        window: What the run reads of the source, None for everything.
        env: Config overlay of the run.
        overrides: Config values of the run, dotted key to value.
        extracted: Rows read from the source.
        rejected: Rows refused.
        rejected_by: Rows refused by each check; a row that fails two counts for both.
        loaded: Rows handed to the warehouse.
    """

    run_id: str
    staging: str
    load_id: str
    window: Window | None = None
    env: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    extracted: int = 0
    rejected: int = 0
    rejected_by: Mapping[str, int] = field(default_factory=dict)
    loaded: int = 0

    def folder(self, part: str) -> str:
        """Return the folder of one part of the run: ``extracted``, ``accepted`` or ``rejected``."""
        return f"{self.staging}/{part}"
