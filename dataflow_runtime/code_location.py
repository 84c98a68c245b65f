"""A Dagster code location of one workflow: the attribute of this module with the workflow's name.

``dagster dev -m dataflow_runtime.code_location -a my_workflow``, or an entry of the
``workspace.yaml`` that `dataflow-runtime workspace` writes.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Return the repository of the workflow of this name.

    Raises:
        AttributeError: No installed package advertises it.
    """
    from dataflow_runtime.orchestration.location import repository

    return repository(name, alone=True)
