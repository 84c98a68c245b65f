"""A Dagster code location of one workflow: the attribute of this module that is called like it.

``dagster dev -m dataflow_runtime.code_location -a my_workflow``, or an entry of ``workspace.yaml``
(`dataflow-runtime workspace`). A broken workflow is the error of its own code location, which the UI shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import Definitions


def __getattr__(name: str) -> Definitions:
    """Return the definitions of the workflow of this name.

    Raises:
        AttributeError: No installed package advertises it.
        DataflowError: It is broken.
    """
    from dataflow_runtime.errors import DataflowError, UnknownWorkflowError
    from dataflow_runtime.orchestration.definitions import load_definitions

    if name.startswith("__"):
        raise AttributeError(name)
    try:
        definitions, broken = load_definitions([name])
    except UnknownWorkflowError as error:
        raise AttributeError(str(error)) from None
    if broken:
        raise DataflowError(str(broken[0]), hint=broken[0].hint)
    return definitions
