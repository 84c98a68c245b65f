"""Ends the process on SIGINT or SIGTERM: cleanly if possible, within seconds in any case.

Python code gets a `KeyboardInterrupt`. C code, such as a query, does not see it, so a thread that
the signal wakes ends the process when the grace period is over. That is safe: a run that is killed
at any point and started again loads every row once. Importing this module is cheap.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["Interruption", "current", "end", "ends_on_signals", "is_active"]

GRACE = 2.5
"""Seconds that an interrupted process has to end cleanly. A second signal ends it at once."""

_LAST_WORDS = 1.0


class Interruption:
    """Whether a signal has asked this process to end.

    Attributes:
        requested: Whether one has.
        last_words: Called, for at most a second, before the process is ended by force.
    """

    def __init__(self) -> None:
        self.requested = False
        self.last_words: Callable[[], None] = lambda: None

    def check(self) -> None:
        """Raise KeyboardInterrupt if the process is asked to end."""
        if self.requested:
            raise KeyboardInterrupt


_current: Interruption | None = None


def current() -> Interruption:
    """Return the interruption of this process. Without `ends_on_signals`, it is never requested."""
    return _current or Interruption()


def is_active() -> bool:
    """Return whether `ends_on_signals` handles the signals of this process."""
    return _current is not None


@contextmanager
def ends_on_signals() -> Iterator[Interruption]:
    """End the process with exit code 130 if SIGINT or SIGTERM arrives while the block runs.

    For commands only: after a signal the process ends even if the block is left within the grace
    period, because other threads could keep it alive.
    """
    global _current
    _current = interruption = Interruption()

    def handle(_signal: int, frame: FrameType | None) -> None:
        interruption.requested = True
        # In an import, the exception would leave a half-made module and a lock that stays taken.
        if not _is_importing(frame):
            raise KeyboardInterrupt

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    wakeup = signal.set_wakeup_fd(writing)
    for number in before:
        signal.signal(number, handle)
    threading.Thread(target=_end_by_force, args=(interruption, reading), daemon=True).start()
    try:
        yield interruption
    finally:
        if not interruption.requested:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            _current = None


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _end_by_force(interruption: Interruption, signals: int) -> None:
    """End the process `GRACE` seconds after a signal, or at the second one."""
    os.read(signals, 1)
    select.select([signals], [], [], GRACE)
    speaker = threading.Thread(target=interruption.last_words, daemon=True)
    speaker.start()
    speaker.join(_LAST_WORDS)
    os.write(2, b"interrupted\n")
    end()


def end() -> NoReturn:
    """End this process with exit code 130, and those of its steps.

    Python's own end takes seconds on a busy machine, in which no signal is handled.
    """
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(130)
