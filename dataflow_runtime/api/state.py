"""What a server keeps between requests: what is installed, and Dagster's instance."""

from __future__ import annotations

import asyncio
import importlib
import site
import sys
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from starlette.concurrency import run_in_threadpool

from dataflow_runtime.api.errors import public
from dataflow_runtime.config import ConfigFile, config_manager
from dataflow_runtime.errors import UnknownWorkflowError
from dataflow_runtime.orchestration.listing import CatalogEntry, describe
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflows

if TYPE_CHECKING:
    from dataflow_runtime.orchestration.launch import Launcher

__all__ = ["State"]

T = TypeVar("T")

_SECONDS = 1.0  # how old an answer may be
_MOST = 500  # answers


class Installed(NamedTuple):
    """The installed workflows: by name, as listed, and their configurations."""

    by_name: dict[str, InstalledWorkflow]
    listed: list[CatalogEntry]
    configs: list[ConfigFile]


class State:
    """What a server keeps between requests. Thread-safe."""

    def __init__(self) -> None:
        self._recent: dict[Hashable, tuple[float, asyncio.Task[Any]]] = {}
        self._lock = threading.Lock()
        self._launcher: Launcher | None = None

    async def recent(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` returned or raised at most a second ago; it is called in a thread."""
        started, task = self._recent.get(key, (0.0, None))
        if task is None or (task.done() and time.monotonic() - started > _SECONDS):
            if len(self._recent) >= _MOST:
                self._recent.clear()
            task = asyncio.create_task(run_in_threadpool(make))
            self._recent[key] = time.monotonic(), task
        found: T = await asyncio.shield(task)
        return found

    async def installed(self) -> Installed:
        """Return what is installed."""
        return await self.recent("installed", _find_installed)

    async def workflow(self, name: str) -> InstalledWorkflow:
        """Return an installed workflow.

        Raises:
            UnknownWorkflowError: No workflow has this name.
        """
        by_name = (await self.installed()).by_name
        if name not in by_name:
            raise UnknownWorkflowError(name, by_name)
        return by_name[name]

    async def folder(self, name: str | None) -> Path | None:
        """Return a workflow's folder, to which paths are relative; None for one that is gone."""
        workflow = (await self.installed()).by_name.get(name or "")
        return workflow.directory if workflow else None

    def launcher(self) -> Launcher:
        """Return what starts runs. The first call imports Dagster: not for the event loop."""
        from dataflow_runtime.orchestration.launch import Launcher

        with self._lock:
            self._launcher = self._launcher or Launcher()
            return self._launcher

    def close(self) -> None:
        """Start no more runs; those that were started go on."""
        if self._launcher is not None:
            self._launcher.close()


def _find_installed() -> Installed:
    # New packages, and the folders that editable installs add, since the server started.
    importlib.invalidate_caches()
    for folder in site.getsitepackages():
        if folder in sys.path:
            site.addsitedir(folder)
    workflows = find_workflows()
    # Of two with one name the first counts.
    by_name = {workflow.name: workflow for workflow in reversed(workflows)}
    listed = [
        CatalogEntry(**public(describe(workflow).to_json(), workflow.directory))
        for workflow in workflows
    ]
    configs = [
        replace(config, file=Path(config.file.name) if config.file else None)
        for config in config_manager.list_configs()
    ]
    return Installed(by_name, listed, configs)
