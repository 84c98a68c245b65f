"""Hooks for tests that interrupt a run.

``tests/integration/crash_server.py`` replaces `on_batch`. ``ORDERS_KILL`` names a step,
``extract`` or ``transform``, and the process is killed in the middle of it. ``ORDERS_WAIT`` names a
folder in which the start of a run waits.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

on_batch: Callable[[], None] = lambda: None  # noqa: E731 - replaced from outside


def moment(step: str) -> None:
    """Mark the moment before a batch of the step is passed on."""
    on_batch()
    if step == os.environ.get("ORDERS_KILL"):
        # Only a process that leads its own group is killed.
        os.killpg(os.getpid(), signal.SIGKILL)


def wait_for_a_word() -> None:
    """Create a file in the folder ``ORDERS_WAIT``, then wait for a file ``go`` in it."""
    if folder := os.environ.get("ORDERS_WAIT"):
        Path(folder, f"here-{os.getpid()}").touch()
        deadline = time.monotonic() + 60
        while not Path(folder, "go").exists():
            if time.monotonic() > deadline:
                raise TimeoutError("nobody said go")
            time.sleep(0.02)
