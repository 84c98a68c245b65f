"""Where tests take hold of a run: ``tests/integration/crash_server.py`` of each batch, others of its start.

``ORDERS_KILL`` names the step, ``extract`` or ``transform``, in the midst of which the process is killed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

on_batch: Callable[[], None] = lambda: None  # noqa: E731 - replaced from outside


def moment(step: str) -> None:
    """Say that a batch of the step is about to be handed on."""
    on_batch()
    if step == os.environ.get("ORDERS_KILL"):
        # Of its process group only: a process that is not the leader of one is no process to kill.
        os.killpg(os.getpid(), signal.SIGKILL)


def wait_for_a_word() -> None:
    """Say that the process is here, in the folder ``ORDERS_WAIT``, and go on once there is a file ``go`` in it."""
    if folder := os.environ.get("ORDERS_WAIT"):
        Path(folder, f"here-{os.getpid()}").touch()
        deadline = time.monotonic() + 60
        while not Path(folder, "go").exists():
            if time.monotonic() > deadline:
                raise TimeoutError("nobody said go")
            time.sleep(0.02)
