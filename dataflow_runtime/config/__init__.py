"""Configuration of workflows: ``config.yaml``, its overlays and variables, validated, with the origin of every value.

Importing this package is cheap: pydantic and the YAML parser are imported when a name that needs them is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflow_runtime.config.base import ConfigModel
    from dataflow_runtime.config.effective import EffectiveConfig, Origin
    from dataflow_runtime.config.manager import CheckedConfig, ConfigFile, ConfigManager
    from dataflow_runtime.config.manager import config_manager as config_manager
    from dataflow_runtime.config.models import WorkflowConfig
    from dataflow_runtime.config.overridable import refused_overrides
    from dataflow_runtime.config.problems import ConfigError, Problem
    from dataflow_runtime.config.schedule import configured_cron
    from dataflow_runtime.config.secrets import mask
    from dataflow_runtime.config.window import Window

__all__ = [
    "CheckedConfig",
    "ConfigError",
    "ConfigFile",
    "ConfigManager",
    "ConfigModel",
    "EffectiveConfig",
    "Origin",
    "Problem",
    "Window",
    "WorkflowConfig",
    "config_manager",
    "configured_cron",
    "mask",
    "refused_overrides",
]

_MODULES = {
    "ConfigError": "problems",
    "ConfigModel": "base",
    "EffectiveConfig": "effective",
    "Origin": "effective",
    "Problem": "problems",
    "Window": "window",
    "WorkflowConfig": "models",
    "configured_cron": "schedule",
    "mask": "secrets",
    "refused_overrides": "overridable",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'manager')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
