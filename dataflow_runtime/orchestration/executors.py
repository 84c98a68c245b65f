"""Where steps run: the executor that ``DATAFLOW_EXECUTOR`` names, and what steps on several hosts need beside it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import dagster as dg

from dataflow_runtime.errors import UsageError
from dataflow_runtime.settings import get_settings

__all__ = ["build_executor", "shared_resources"]

_KNOWN = {
    "in_process": "dagster:in_process_executor",
    "multiprocess": "dagster:multiprocess_executor",
    "dask": "dagster_dask:dask_executor",
    "k8s": "dagster_k8s:k8s_job_executor",
}
_EXTRAS = {"dask": "dask", "k8s": "k8s"}


def build_executor() -> dg.ExecutorDefinition:
    """Return the executor that ``DATAFLOW_EXECUTOR`` names.

    Raises:
        UsageError: It is neither a known word nor ``module:attribute`` of an executor.
    """
    name = get_settings().executor
    module, _, attribute = _KNOWN.get(name, name).partition(":")
    if not attribute:
        raise UsageError(
            f"DATAFLOW_EXECUTOR: unknown executor {name!r}",
            hint=f"allowed: {', '.join(_KNOWN)}, or module:attribute of a Dagster executor",
        )
    try:
        executor = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        extra = _EXTRAS.get(name)
        hint = (
            f'pip install "dataflow-runtime[{extra}]"'
            if extra
            else f"is the package of {module} installed?"
        )
        raise UsageError(f"DATAFLOW_EXECUTOR={name}: {error}", hint=hint) from error
    if not isinstance(executor, dg.ExecutorDefinition):
        raise UsageError(f"DATAFLOW_EXECUTOR={name}: {module}:{attribute} is no Dagster executor")
    return executor.configured(_dask_cluster(), name="dask") if name == "dask" else executor


def _dask_cluster() -> dict[str, Any]:
    """Return the cluster: the one that Dask's own variable names, else one on this machine, made for the run."""
    if os.environ.get("DASK_SCHEDULER_ADDRESS"):
        return {"cluster": {"existing": {"address": {"env": "DASK_SCHEDULER_ADDRESS"}}}}
    return {"cluster": {"local": {}}}


def shared_resources() -> dict[str, dg.FilesystemIOManager]:
    """Return the resources of every job: where staging is a URL, what ops hand on is kept there as well.

    Dagster's default keeps it in a folder of the host, where a step on another host does not find it.
    """
    staging = get_settings().staging_root
    return (
        {"io_manager": dg.FilesystemIOManager(base_dir=f"{staging}/dagster")}
        if "://" in staging
        else {}
    )
