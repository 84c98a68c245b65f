"""Configuration of workflows: ``config.yaml``, its overlays and variables, validated, with origins.

Importing this package is cheap: pydantic and the YAML parser are imported when they are needed. It
never imports Dagster, Polars or the code of a workflow, apart from the model that one brings.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dataflow_runtime.config.manager import CheckedConfig as CheckedConfig
from dataflow_runtime.config.manager import ConfigFile as ConfigFile
from dataflow_runtime.config.manager import ConfigManager as ConfigManager
from dataflow_runtime.config.manager import config_manager as config_manager
from dataflow_runtime.config.problems import ConfigError as ConfigError
from dataflow_runtime.config.problems import ConfigProblem as ConfigProblem
from dataflow_runtime.config.schedule import configured_cron as configured_cron
from dataflow_runtime.config.secrets import mask as mask
from dataflow_runtime.config.window import Window as Window

if TYPE_CHECKING:
    from dataflow_runtime.config.base import ConfigModel as ConfigModel
    from dataflow_runtime.config.layers import refused_overrides as refused_overrides
    from dataflow_runtime.config.models import WorkflowConfig as WorkflowConfig
    from dataflow_runtime.config.origins import Origin as Origin
    from dataflow_runtime.config.origins import ShownConfig as ShownConfig

# What needs pydantic.
_MODULES = {
    "ConfigModel": "base",
    "Origin": "origins",
    "ShownConfig": "origins",
    "WorkflowConfig": "models",
    "refused_overrides": "layers",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
