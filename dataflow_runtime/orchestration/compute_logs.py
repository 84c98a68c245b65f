"""What steps print, in Dagster's log files and on the terminal."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import (
    IO_TYPE_EXTENSION,
    LocalComputeLogManager,
)
from dagster._serdes import ConfigurableClassData

__all__ = ["TeeComputeLogManager", "with_tee"]


class TeeComputeLogManager(LocalComputeLogManager):
    """Dagster's local log files, written by a thread of this process.

    Dagster starts four processes for each step, two `tail` and two Python that watch them; these take longer than a
    small step, and print a traceback each when Ctrl-C reaches them.
    """

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> TeeComputeLogManager:
        """Make it of Dagster's configuration."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Copy what is written to stdout and stderr meanwhile to the files of `log_key`."""
        files = [
            Path(self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind]))
            for kind in (ComputeIOType.STDOUT, ComputeIOType.STDERR)
        ]
        files[0].parent.mkdir(parents=True, exist_ok=True)
        with _copied(sys.stdout, 1, files[0]), _copied(sys.stderr, 2, files[1]):
            yield CapturedLogContext(log_key)
        Path(self.complete_artifact_path(log_key)).touch()  # type: ignore[no-untyped-call]


@contextmanager
def _copied(stream: IO[str], descriptor: int, file: Path) -> Iterator[None]:
    stream.flush()
    reading, writing = os.pipe()
    ended, end = os.pipe()
    kept = os.dup(descriptor)
    os.dup2(writing, descriptor)
    os.close(writing)

    def copy() -> None:
        with (
            file.open("ab", buffering=0) as log,
            os.fdopen(kept, "wb", buffering=0, closefd=False) as terminal,
        ):
            # Not until the pipe's end: a process that the step has left behind, such as Python's own resource tracker,
            # holds it open.
            while reading in select.select([reading, ended], [], [])[0]:
                if not (chunk := os.read(reading, 1 << 16)):
                    break
                log.write(chunk)
                terminal.write(chunk)

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stream.flush()
        os.dup2(kept, descriptor)
        os.close(end)  # the thread reads what is left
        thread.join()
        for pipe in (reading, ended, kept):
            os.close(pipe)


def with_tee(instance: InstanceRef) -> InstanceRef:
    """Return the instance with `TeeComputeLogManager` in place of Dagster's default; another manager stays."""
    data = instance.compute_logs_data
    if data.class_name != LocalComputeLogManager.__name__:
        return instance
    return instance._replace(
        compute_logs_data=ConfigurableClassData(
            __name__, TeeComputeLogManager.__name__, data.config_yaml
        )
    )
