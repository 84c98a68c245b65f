"""The process that executes a run for a server, and outlives it: ``python -m dataflow_runtime.orchestration.worker``.

Standard input describes the run, standard output says in one JSON object what became of it: ``{}`` once it is recorded,
``{"exists": true}`` where a run of this id is there already, ``{"error": …}`` where it cannot be run. Values of a run,
secrets among them, are on no command line and in no file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from typing import Any

from dataflow_runtime.config import ConfigError, config_manager, mask
from dataflow_runtime.errors import DataflowError, UsageError

__all__ = ["main"]


def main() -> None:
    """Execute the run that standard input describes."""
    # A server that was started in the background may ignore the signal that cancels a run.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    answer = _Answer()
    try:
        request = json.load(sys.stdin)
    except ValueError:
        return  # the server was killed before it had said all: there is nothing to do
    try:
        # Before anything heavy is imported: most mistakes are in here.
        config_manager.load_config(
            request["name"], env=request["env"], overrides=request["overrides"]
        )
        from dataflow_runtime.orchestration.run import RunExistsError, run_workflow

        try:
            run_workflow(**request, on_recorded=lambda: answer.give({}))
        except RunExistsError:
            answer.give({"exists": True})
    except DataflowError as error:
        answer.give({"error": _error(error)})
    except KeyboardInterrupt:
        sys.exit(130)
    except BaseException as error:
        message = mask(f"the workflow cannot be run: {type(error).__name__}: {error}")
        answer.give({"error": {"kind": "broken", "message": message, "hint": None}})
        raise


class _Answer:
    """The one word to the server; what the workflow's own code prints does not mix with it."""

    def __init__(self) -> None:
        self._fd: int | None = os.dup(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)

    def give(self, answer: dict[str, Any]) -> None:
        """Send the answer; a server that is gone does not hear it, and the run goes on."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as stream:
                json.dump(answer, stream)
        except BrokenPipeError:
            pass


def _error(error: DataflowError) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": "broken", "message": error.message, "hint": error.hint}
    if isinstance(error, ConfigError):
        return found | {
            "kind": "config",
            "problems": [asdict(problem) for problem in error.problems],
        }
    return found | ({"kind": "usage"} if isinstance(error, UsageError) else {})


if __name__ == "__main__":
    main()
