"""Dagster's instance, opened when the first request needs it: listings never import Dagster."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from dataflow_runtime.orchestration.launch import Launcher

__all__ = ["Instance", "InstanceHolder"]


class InstanceHolder:
    """The one instance of a server. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._instance: DagsterInstance | None = None
        self._launcher: Launcher | None = None

    def get(self) -> DagsterInstance:
        """Return the instance; imports Dagster, so not for the event loop's thread."""
        with self._lock:
            if self._instance is None:
                from dataflow_runtime.orchestration.run import open_instance

                self._instance = self._open.enter_context(open_instance())
            return self._instance

    def launcher(self) -> Launcher:
        """Return the queue of the server's runs."""
        instance = self.get()
        with self._lock:
            if self._launcher is None:
                from dataflow_runtime.orchestration.launch import Launcher

                self._launcher = Launcher(instance)
                self._open.callback(self._launcher.close)
            return self._launcher

    def close(self) -> None:
        """Close it, where it was opened."""
        with self._lock:
            self._instance = None
            self._open.close()


def _holder(request: Request) -> InstanceHolder:
    holder: InstanceHolder = request.app.state.instance
    return holder


Instance = Annotated[InstanceHolder, Depends(_holder)]
