"""Where steps run: the executor of ``DATAFLOW_EXECUTOR``, and what steps on several hosts need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import dagster as dg

from dataflow_runtime.errors import UsageError
from dataflow_runtime.orchestration.workers import executes
from dataflow_runtime.settings import get_settings

__all__ = ["build_executor", "shared_resources"]

_KNOWN = {
    "in_process": "dagster:in_process_executor",
    "multiprocess": "dagster:multiprocess_executor",
    "dask": "dagster_dask:dask_executor",
    "k8s": "dagster_k8s:k8s_job_executor",
}
_EXTRAS = ("dask", "k8s")


def build_executor(workflow: str) -> dg.ExecutorDefinition:
    """Return the executor that ``DATAFLOW_EXECUTOR`` names, for the runs of a workflow.

    Raises:
        UsageError: It is neither a known name nor ``module:attribute`` of an executor.
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
        hint = f"is the package of {module} installed?"
        if name in _EXTRAS:
            hint = f'pip install "dataflow-runtime[{name}]"'
        raise UsageError(f"DATAFLOW_EXECUTOR={name}: {error}", hint=hint) from error
    if not isinstance(executor, dg.ExecutorDefinition):
        raise UsageError(
            f"DATAFLOW_EXECUTOR={name}: {module}:{attribute} is not a Dagster executor"
        )
    if name == "dask":
        executor = executor.configured(_dask_cluster(), name="dask")
    create = executor.executor_creation_fn
    assert create is not None
    return dg.ExecutorDefinition(
        executor.name,
        # With the values that it is configured with; annotated for less than it takes.
        config_schema=executor.config_schema,  # type: ignore[arg-type]
        requirements=executor.get_requirements,
        executor_creation_fn=lambda context: _in_turn(create(context), workflow),
        description=executor.description,
    )


def _in_turn(executor: dg.Executor, workflow: str) -> dg.Executor:
    """Let the runs of an executor wait for the workflow's other runs on this machine.

    It stays the same object: Dask's, for one, insists on its own class.
    """
    execute = executor.execute

    def execute_in_turn(plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        with executes(plan_context.instance, plan_context.dagster_run, workflow):
            yield from execute(plan_context, execution_plan)

    executor.execute = execute_in_turn  # type: ignore[method-assign]
    return executor


def _dask_cluster() -> dict[str, Any]:
    """Return the cluster that Dask's own variable names, or a new one on this machine."""
    if os.environ.get("DASK_SCHEDULER_ADDRESS"):
        return {"cluster": {"existing": {"address": {"env": "DASK_SCHEDULER_ADDRESS"}}}}
    return {"cluster": {"local": {}}}


def shared_resources() -> dict[str, dg.FilesystemIOManager]:
    """Return the resources of every job: if staging is at a URL, the outputs of ops go there, too.

    Dagster keeps them in a folder of the host by default, where other hosts cannot read them.
    """
    staging = get_settings().staging_root
    if "://" not in staging:
        return {}
    return {"io_manager": dg.FilesystemIOManager(base_dir=f"{staging}/dagster")}
