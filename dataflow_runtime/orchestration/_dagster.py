"""Everything that we use of Dagster and that it does not document as public, with the reason."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

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
from dagster._utils.tags import is_valid_tag_key

__all__ = [
    "AssetJob",
    "RunAlreadyExists",
    "defines_location",
    "execute",
    "ignore_beta_warnings",
    "is_valid_owner",
    "is_valid_tag_key",
    "job_origin",
    "leave_signals_alone",
    "ticks_before",
    "with_labels",
]


def defines_location() -> bool:
    """Return whether this process loads a code location, and does not rebuild a part of it for a run.

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

    The public `graph.to_job(…)` would lose the decorator's config, hooks, resources and executor; an asset job has
    no public way at all.
    """
    if isinstance(job, dg.JobDefinition):
        return job._copy(**labels)
    from dagster_shared.record import replace

    return replace(job, **labels)


def execute(
    recipe: Any, run: dg.DagsterRun, instance: dg.DagsterInstance
) -> Iterator[dg.DagsterEvent]:
    """Execute a recorded run and yield its events."""
    return execute_run_iterator(recipe, run, instance)


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

    Its own raise inside imports, which leaves the import lock taken, and turn an interrupt into a retry.
    """
    from dagster._utils import interrupts

    def keep_handler(new_signal_handler: Any) -> None: ...

    interrupts._replace_interrupt_signal = keep_handler


def ticks_before(time: datetime, cron: str, timezone: str) -> Iterator[datetime]:
    """Yield the ticks of a cron expression before a time, the latest first.

    A schedule's context does not tell its previous tick, and Dagster's own reading of cron is the one that counts.
    """
    from dagster._utils.schedules import reverse_cron_string_iterator

    return reverse_cron_string_iterator(time.timestamp(), cron, timezone)


def ignore_beta_warnings() -> None:
    """Hide Dagster's notes that owners and code references are beta: users cannot act on them."""
    warnings.filterwarnings(
        "ignore", r"(Parameter `owners` of|Class `\w*CodeReference)", dg.BetaWarning
    )
