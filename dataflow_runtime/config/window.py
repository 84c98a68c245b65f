"""The range of a workflow's cursor that a run reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Window:
    """Values of ``processing.cursor.column`` from `start` to before `end`.

    Attributes:
        start: First value, None for no lower bound: a datetime in UTC, or a value of the column.
        end: The value before which it ends, None for no upper bound.
        after: Whether `start` itself is outside, because an append has it already.
    """

    start: Any = None
    end: Any = None
    after: bool = False
