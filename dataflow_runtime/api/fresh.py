"""What is said of the installed workflows, made again when a file changes that it was made of."""

from __future__ import annotations

import asyncio
import importlib
import os
import site
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

from dataflow_runtime.discovery import InstalledWorkflow, find_workflows

__all__ = ["Fresh", "take_in_new_paths"]

T = TypeVar("T")

_SETTLED = 0.1  # seconds: a file that is written twice within a tick of its file system's clock shows one time


@dataclass(frozen=True)
class _Known(Generic[T]):
    value: T
    path: tuple[str, ...]
    files: tuple[str, ...]
    stamps: list[object]
    settled: bool


class Fresh(Generic[T]):
    """A value made of the installed workflows, as fresh as the request that asks for it.

    Nothing is kept that could be out of date: before each answer every file that the value was made of is looked at.
    That takes longer than the rest of a request, so requests that arrived together share one look.
    """

    def __init__(
        self, make: Callable[[list[InstalledWorkflow]], T], inputs: Callable[[InstalledWorkflow], Iterable[Path]]
    ) -> None:
        """Make a value when it is first asked for.

        Args:
            make: Makes it.
            inputs: Files, beside its module, that what is said of a workflow depends on, whether they are there or not.
        """
        self._make = make
        self._inputs = inputs
        self._known: _Known[T] | None = None
        self._lock = threading.Lock()
        self._looked = False

    async def get(self) -> T:
        """Return the value; made in a thread if it has to be."""
        if self._known is None or not (self._looked or self._is_current(self._known)):
            self._known = await run_in_threadpool(self._remake)
        elif not self._looked:
            # The requests that the event loop has taken in with this one had all arrived before the look.
            self._looked = True
            asyncio.get_running_loop().call_soon(self._forget)
        return self._known.value

    def _forget(self) -> None:
        self._looked = False

    @staticmethod
    def _is_current(known: _Known[T]) -> bool:
        return known.settled and known.path == tuple(sys.path) and _stamps(known.files) == known.stamps

    def _remake(self) -> _Known[T]:
        with self._lock:
            if self._known is not None and self._is_current(self._known):
                return self._known
            take_in_new_paths()
            now, path = time.time(), tuple(sys.path)
            # Before reading: a change in between is seen the next time.
            before = _stamps(path)
            workflows = find_workflows()
            inputs = tuple(dict.fromkeys(file for workflow in workflows for file in self._files(workflow)))
            files = (*path, *inputs)
            stamps = before + _stamps(inputs)
            # Of files that are being written the next request looks again, whatever their stamps say.
            settled = all(newest < now - _SETTLED for newest in map(_changed, files))
            return _Known(self._make(workflows), path, files, stamps, settled)

    def _files(self, workflow: InstalledWorkflow) -> Iterable[str]:
        if workflow.file is not None:
            yield str(workflow.file)
            yield from map(str, self._inputs(workflow))
            return
        # Its module may appear in any of these folders.
        parts = workflow.module.split(".")[:-1]
        for root in sys.path:
            for end in range(1, len(parts) + 1):
                yield str(Path(root, *parts[:end]))


def take_in_new_paths() -> None:
    """Make what was installed since the start importable: new files, and the folders that editable installs add."""
    importlib.invalidate_caches()
    for folder in site.getsitepackages():
        if folder in sys.path:
            site.addsitedir(folder)


def _stamps(files: Iterable[str]) -> list[object]:
    stat = os.stat
    stamps: list[object] = []
    for file in files:
        try:
            found = stat(file)
        except OSError:
            stamps.append(None)
        else:
            stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
    return stamps


def _changed(file: str) -> float:
    try:
        return os.stat(file).st_mtime  # noqa: PTH116
    except OSError:
        return 0.0
