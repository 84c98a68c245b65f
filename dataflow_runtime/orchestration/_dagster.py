"""The names of Dagster that it does not document as public, each with the reason to use it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import dagster as dg

# `AssetJob`: what `define_asset_job` returns has no public type.
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition as AssetJob,
)

# An owner or a tag that breaks Dagster's rules would fail a whole repository, so we ask first.
from dagster._core.definitions.utils import is_valid_owner

# What `create_run_for_job` raises for a run id that exists is not exported.
from dagster._core.errors import DagsterRunAlreadyExists as RunAlreadyExists

# The documented `execute_job` takes no recorded run and yields no events.
from dagster._core.execution.api import execute_run_iterator

# What steps print: its base class is public, what its method returns is not.
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._utils.tags import is_valid_tag_key

__all__ = [
    "AssetJob",
    "RunAlreadyExists",
    "TeeComputeLogManager",
    "dagster_name",
    "defines_location",
    "execute",
    "ignore_beta_warnings",
    "is_valid_owner",
    "is_valid_tag_key",
    "job_origin",
    "leave_signals_alone",
    "open_home",
    "running_schedules",
    "ticks_before",
    "with_labels",
]


def defines_location() -> bool:
    """Return whether this process loads a code location, not only a part of it for a run.

    Dagster keeps the distinction in its load context, which it does not export.
    """
    from dagster._core.definitions.definitions_load_context import (
        DefinitionsLoadContext,
        DefinitionsLoadType,
    )

    if not DefinitionsLoadContext.is_set():
        return False
    return DefinitionsLoadContext.get().load_type is DefinitionsLoadType.INITIALIZATION


def with_labels(job: Any, labels: Mapping[str, Any]) -> Any:
    """Return a job with other tags, metadata, owners, description or partitions.

    The public `graph.to_job(…)` would lose the decorator's config, hooks, resources and executor.
    Asset jobs have no public way.
    """
    if isinstance(job, dg.JobDefinition):
        return job._copy(**labels)
    from dagster_shared.record import replace

    return replace(job, **labels)


def dagster_name(name: str) -> str:
    """Replace the characters that Dagster does not allow in a name."""
    return re.sub(r"\W", "_", name)


def execute(
    recipe: Any, run: dg.DagsterRun, instance: dg.DagsterInstance
) -> Generator[dg.DagsterEvent, None, None]:
    """Execute a recorded run and yield its events."""
    yield from execute_run_iterator(recipe, run, instance)


def running_schedules(instance: dg.DagsterInstance) -> set[str]:
    """Return the names of the schedules that are switched on, of which nothing public tells."""
    states = instance.all_instigator_state()
    return {state.instigator_name for state in states if state.is_running}


def open_home(home: Path) -> dg.DagsterInstance:
    """Open the instance of a folder, with `TeeComputeLogManager` in place of Dagster's default.

    An instance has no public parameter for it, and the user's dagster.yaml must stay as it is.
    """
    from dagster._core.instance.ref import InstanceRef
    from dagster._serdes import ConfigurableClassData

    ref = InstanceRef.from_dir(str(home))
    data = ref.compute_logs_data
    if data.class_name == LocalComputeLogManager.__name__:
        name = TeeComputeLogManager.__name__
        data = ConfigurableClassData(__name__, name, data.config_yaml)
    return dg.DagsterInstance.from_ref(ref._replace(compute_logs_data=data))


class TeeComputeLogManager(LocalComputeLogManager):
    """Dagster's log files of what steps print, and the terminal at the same time.

    Dagster starts four processes for each step, two of them Pythons: more work than a small step.
    """

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> TeeComputeLogManager:
        """Make it from Dagster's configuration."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Copy stdout and stderr to the files of `log_key`."""
        files = [self.get_captured_local_path(log_key, part) for part in ("out", "err")]
        Path(files[0]).parent.mkdir(parents=True, exist_ok=True)
        with _copied(sys.stdout, 1, files[0]), _copied(sys.stderr, 2, files[1]):
            yield CapturedLogContext(log_key)
        Path(self.complete_artifact_path(log_key)).touch()  # type: ignore[no-untyped-call]


@contextmanager
def _copied(stream: TextIO, descriptor: int, file: str) -> Iterator[None]:
    stream.flush()
    kept = os.dup(descriptor)
    # Ctrl-C reaches the whole process group, but the last lines must still be copied.
    command = ["tee", "-a", "-i", file]
    tee = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=kept)  # noqa: S603
    assert tee.stdin is not None
    os.dup2(tee.stdin.fileno(), descriptor)
    tee.stdin.close()
    try:
        yield
    finally:
        stream.flush()
        os.dup2(kept, descriptor)
        os.close(kept)
        # A process that the step left behind may hold the pipe open; `tee` ends when it does.
        with suppress(subprocess.TimeoutExpired):
            tee.wait(1)


def job_origin(module: str, repository: str, job: str) -> Any:
    """Return the origin by which the UI finds the job of a run, to execute it again.

    Dagster makes origins for the runs that it launches itself and has no public way for others.
    """
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteJobOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    target = LoadableTargetOrigin(
        executable_path=sys.executable, module_name=module, working_directory=str(Path.cwd())
    )
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name=module)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, repository), job)


def leave_signals_alone() -> None:
    """Keep Dagster from replacing this process's signal handlers.

    Its own raise inside imports, which leaves the import lock taken, and retry interrupted steps.
    """
    from dagster._utils import interrupts

    def keep_handler(new_signal_handler: Any) -> None: ...

    interrupts._replace_interrupt_signal = keep_handler


def ticks_before(time: datetime, cron: str, timezone: str) -> Iterator[datetime]:
    """Yield the ticks of a cron expression before a time, the latest first.

    A schedule's context does not have its previous tick, and Dagster's reading of cron counts.
    """
    from dagster._utils.schedules import reverse_cron_string_iterator

    return reverse_cron_string_iterator(time.timestamp(), cron, timezone)


def ignore_beta_warnings() -> None:
    """Hide Dagster's notes that owners and code references are beta: users cannot act on them."""
    warnings.filterwarnings(
        "ignore", r"(Parameter `owners` of|Class `\w*CodeReference)", dg.BetaWarning
    )
