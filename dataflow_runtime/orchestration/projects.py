"""Parses dbt projects in parallel, before a code location reads their manifests."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress

from dataflow_runtime.config import config_manager
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.workflows.discovery import InstalledWorkflow

__all__ = ["parse_projects", "use_environment"]

_PRELOAD = ["dataflow_runtime.pipeline.dbt", "dbt.cli.main"]


def parse_projects(workflows: Iterable[InstalledWorkflow]) -> None:
    """Parse the dbt projects of asset workflows that have changed, with progress on stderr.

    One takes a second or two: too long to do it one after another as the workflows are loaded.
    A project that cannot be parsed is reported when its workflow is.
    """
    names = [workflow.name for workflow in workflows if _has_dbt_assets(workflow)]
    waiting = [name for name in names if _needs_parsing(name)] if len(names) > 1 else []
    if len(waiting) < 2:
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    with (
        suppress(BrokenExecutor),
        ProcessPoolExecutor(
            os.cpu_count(), context, initializer=use_environment, initargs=(dict(os.environ),)
        ) as pool,
    ):
        for done, _ in enumerate(pool.map(_parse, waiting), start=1):
            if done % 10 == 0 or done == len(waiting):
                sys.stderr.write(f"parsed {done} of {len(waiting)} dbt projects\n")
                sys.stderr.flush()


def use_environment(environment: Mapping[str, str]) -> None:
    """Replace the variables of this process: its fork server may have started with others."""
    os.environ.clear()
    os.environ.update(environment)


def _has_dbt_assets(workflow: InstalledWorkflow) -> bool:
    """Return whether a workflow has dbt models and its code, not imported yet, makes assets."""
    folder = workflow.directory
    if folder is None or not (folder / "dbt").is_dir():
        return False
    return any(b"pipeline_assets" in file.read_bytes() for file in folder.glob("*.py"))


def _needs_parsing(name: str) -> bool:
    from dataflow_runtime.pipeline.dbt import is_parsed

    try:
        return not is_parsed(config_manager.load_config(name))
    except DataflowError:
        return False


def _parse(name: str) -> None:
    from dataflow_runtime.pipeline.dbt import manifest_path

    with suppress(DataflowError):
        manifest_path(config_manager.load_config(name))
