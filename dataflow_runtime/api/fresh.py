"""What is said of the installed workflows, made again when a file changes that it was made of."""

from __future__ import annotations

import importlib
import os
import site
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

from dataflow_runtime.api.watch import Watch
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflows

__all__ = ["Fresh"]

T = TypeVar("T")

_SETTLED = 0.1  # seconds: a file that is written twice within a tick of its file system's clock shows one time
_TRUST = 1.0  # seconds: what another machine does to a shared folder, no watch tells


class _Made(Generic[T]):
    """A value, and the state of the files that it was made of."""

    def __init__(
        self, value: T, path: tuple[str, ...], files: list[str], stamps: list[object], watch: Watch
    ) -> None:
        self.value, self._path, self._files, self._stamps, self._watch = (
            value,
            path,
            files,
            stamps,
            watch,
        )
        self._looked = time.monotonic()
        # Of a file that was just written, the next look could not see that it is written again.
        self._stale = any(map(_is_new, files))

    def is_current(self) -> bool:
        """Return whether it would be made the same way now."""
        if self._stale or self._path != tuple(sys.path):
            return False
        now = time.monotonic()
        if self._watch.quiet() and now - self._looked < _TRUST:
            return True
        self._looked = now
        # For good: the watch tells each event once.
        self._stale = _stamps(self._files) != self._stamps or any(map(_is_new, self._files))
        return not self._stale


class Fresh(Generic[T]):
    """A value made of the installed workflows, as fresh as the request that asks for it. Thread-safe."""

    def __init__(
        self,
        make: Callable[[list[InstalledWorkflow]], T],
        inputs: Callable[[InstalledWorkflow], Iterable[Path]],
    ) -> None:
        """Make the value when it is first asked for.

        Args:
            make: Makes it.
            inputs: Files, beside its module, that what is said of a workflow depends on, whether they are there or not.
        """
        self._make, self._inputs = make, inputs
        self._lock = threading.Lock()
        self._made: _Made[T] | None = None

    def is_current(self, value: T) -> bool:
        """Return whether this is the value, and would be made the same way now."""
        made = self._made
        return made is not None and made.value is value and made.is_current()

    async def get(self) -> T:
        """Return the value; made in a thread if it has to be."""
        made = self._made
        if made is None or not made.is_current():
            made = await run_in_threadpool(self._remake)
        return made.value

    def _remake(self) -> _Made[T]:
        with self._lock:
            if self._made is not None and self._made.is_current():
                return self._made
            _take_in_new_paths()
            path = tuple(sys.path)
            # Watched and looked at before it is read: a change in between is seen the next time.
            files = [
                *path,
                *(file for workflow in find_workflows() for file in self._files(workflow)),
            ]
            watch = Watch([*(f"{folder}/." for folder in path), *files])
            stamps = _stamps(files)
            self._made = _Made(self._make(find_workflows()), path, files, stamps, watch)
            return self._made

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


def _take_in_new_paths() -> None:
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


def _is_new(file: str) -> bool:
    try:
        return os.stat(file).st_mtime > time.time() - _SETTLED  # noqa: PTH116
    except OSError:
        return False
