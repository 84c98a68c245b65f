"""What a server keeps between requests: what is installed, and Dagster's instance."""

from __future__ import annotations

import asyncio
import importlib
import os
import site
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dataflow_runtime.api.errors import public
from dataflow_runtime.config import ConfigFile, config_manager
from dataflow_runtime.config.tree import stamp
from dataflow_runtime.errors import UnknownWorkflowError
from dataflow_runtime.orchestration.listing import ListedWorkflow, describe
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflows

if TYPE_CHECKING:
    from dataflow_runtime.orchestration.launch import Launcher

__all__ = ["Kept", "State"]

_SECONDS = 1.0  # how old an answer may be
_MOST = 500  # answers that are kept


class Installed(NamedTuple):
    """The installed workflows: by name, as listed, and their configurations."""

    by_name: dict[str, InstalledWorkflow]
    listed: list[ListedWorkflow]
    configs: list[ConfigFile]
    stamps: list[object]


class State:
    """What a server keeps between requests. Thread-safe.

    Attributes:
        expires: Time on the monotonic clock until which what was found stays true.
    """

    def __init__(self) -> None:
        self.expires = 0.0
        self._finding: asyncio.Task[Installed] | None = None
        self._installed: Installed | None = None
        self._lock = threading.Lock()
        self._launcher: Launcher | None = None

    async def installed(self) -> Installed:
        """Return what is installed, or was a second ago."""
        found = self._finding
        if found is None or (found.done() and time.monotonic() > self.expires):
            self.expires = time.monotonic() + _SECONDS
            found = self._finding = asyncio.create_task(run_in_threadpool(self._find))
        return await asyncio.shield(found)

    def _find(self) -> Installed:
        known = self._installed
        if known is None or known.stamps != _stamps(known.by_name.values()):
            known = self._installed = _find_installed()
        return known

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


class Kept:
    """ASGI middleware that gives lists and configs again, as long as what was found stays true."""

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        self._app, self._state = app, state
        self._answers: dict[tuple[str, bytes], tuple[float, list[Message]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path = scope.get("path", "")
        # Not a single workflow: its last run is always looked up.
        is_kept = path == "/workflows/" or path.startswith("/configs/")
        if scope.get("method") != "GET" or not is_kept:
            await self._app(scope, receive, send)
            return
        expires, messages = self._answers.get((path, scope["query_string"]), (0.0, []))
        if time.monotonic() > expires:
            messages = []

            async def keep(message: Message) -> None:
                messages.append(message)

            await self._app(scope, receive, keep)
            if messages[0]["status"] == 200:
                if len(self._answers) >= _MOST:
                    self._answers.clear()
                self._answers[path, scope["query_string"]] = self._state.expires, messages
        for message in messages:
            await send({**message})


def _find_installed() -> Installed:
    # New packages, and the folders that editable installs add, since the server started.
    importlib.invalidate_caches()
    for folder in site.getsitepackages():
        if folder in sys.path:
            site.addsitedir(folder)
    started = time.time_ns()
    workflows = find_workflows()
    # Of two with one name the first counts.
    by_name = {workflow.name: workflow for workflow in reversed(workflows)}
    stamps = _stamps(by_name.values())
    # What changes while it is read, or in the same tick of the file system's clock, is read again.
    if any(isinstance(found, tuple) and found[0] > started - 10**8 for found in stamps):
        stamps = [object()]
    listed = [
        ListedWorkflow(**public(describe(workflow).to_json(), workflow.directory))
        for workflow in workflows
    ]
    configs = [
        replace(config, file=Path(config.file.name) if config.file else None)
        for config in config_manager.list_configs()
    ]
    return Installed(by_name, listed, configs, stamps)


def _stamps(workflows: Iterable[InstalledWorkflow]) -> list[object]:
    """Return what changes when a package comes or goes, or a file of a workflow changes."""
    overlay = f"config.{os.environ.get('DATAFLOW_ENV')}.yaml"
    paths: list[str | Path] = [*sys.path]
    for workflow in workflows:
        if workflow.file is None or workflow.config_file is None:
            return [object()]  # its module may appear in any folder
        file = workflow.config_file
        paths += [workflow.file, file.parent, file, file.parent / overlay]
    return [stamp(path) for path in paths]
