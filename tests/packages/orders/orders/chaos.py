"""Where tests take hold of a run: ``tests/integration/crash_server.py`` of each batch, others of its start."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

on_batch: Callable[[], None] = lambda: None  # noqa: E731 - replaced from outside


def moment() -> None:
    """Say that a batch is about to be handed on."""
    on_batch()


def wait_for_a_word() -> None:
    """Say that the process is here, in the folder ``ORDERS_WAIT``, and go on once there is a file ``go`` in it."""
    if folder := os.environ.get("ORDERS_WAIT"):
        Path(folder, f"here-{os.getpid()}").touch()
        deadline = time.monotonic() + 60
        while not Path(folder, "go").exists():
            if time.monotonic() > deadline:
                raise TimeoutError("nobody said go")
            time.sleep(0.02)
