"""`config_manager`: loads, validates and lists the configurations of installed workflows."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dataflow_runtime.config.effective import EffectiveConfig, config_warnings, effective_config
from dataflow_runtime.config.layers import (
    Layered,
    environment_variables,
    layered,
    overlay_file,
    variables_of,
)
from dataflow_runtime.config.problems import UNKNOWN_KEY, ConfigError, Problem, UnknownKeyError
from dataflow_runtime.config.renamed import warn_of
from dataflow_runtime.errors import DataflowError, UnknownWorkflowError, UsageError, did_you_mean
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflows

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dataflow_runtime.config.models import WorkflowConfig

__all__ = ["CheckedConfig", "ConfigFile", "ConfigManager", "config_manager"]

MODEL_GROUP = "dataflow.config_models"
_CACHE_SIZE = 1_000

M = TypeVar("M", bound="BaseModel")


@dataclass(frozen=True)
class ConfigFile:
    """Where the configuration of an installed workflow stands.

    Attributes:
        name: The workflow.
        package: Its distribution.
        file: Its ``config.yaml``, None if the package's module cannot be found.
        environments: Names of its overlays (``config.<env>.yaml``).
        exists: Whether the file is there.
    """

    name: str
    package: str
    file: Path | None
    environments: tuple[str, ...]
    exists: bool


@dataclass(frozen=True)
class CheckedConfig:
    """The outcome of a validation: `problems` make it invalid, `warnings` do not."""

    name: str
    problems: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()

    @property
    def valid(self) -> bool:
        """Whether the configuration can be used."""
        return not self.problems


@dataclass(frozen=True)
class _Loaded:
    """A validated config and what it was made of; valid as long as the inputs are the same."""

    config: Any
    layers: Layered
    secret_paths: frozenset[tuple[str, ...]]
    files: Mapping[Path, object]
    variables: Mapping[str, str | None]
    overriding: Mapping[str, str]

    def is_current(self, name: str) -> bool:
        return (
            all(_stamp(file) == stamp for file, stamp in self.files.items())
            and all(os.environ.get(variable) == value for variable, value in self.variables.items())
            and environment_variables(name, os.environ) == self.overriding
        )


class ConfigManager:
    """Configurations by workflow name, cached by what they depend on: files and variables. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cache: dict[tuple[object, ...], _Loaded] = {}
        self._installed: (
            tuple[object, dict[str, InstalledWorkflow], dict[str, importlib.metadata.EntryPoint]]
            | None
        ) = None

    def load_config(
        self, name: str, *, env: str | None = None, overrides: Mapping[str, object] | None = None
    ) -> WorkflowConfig:
        """Return the configuration of a workflow: an instance of its own model if it brings one.

        Args:
            name: The workflow.
            env: Name of the overlay; None for ``DATAFLOW_ENV``.
            overrides: Dotted key to value; text is read as YAML.

        Raises:
            ConfigError: It is not valid; carries every problem.
            UnknownWorkflowError: No installed package advertises the workflow.
        """
        loaded = self._load(name, self.model_of(name), env, overrides)
        if loaded.layers.deprecated:
            warn_of(loaded.layers.deprecated)
        return cast("WorkflowConfig", loaded.config)

    def cached_config(self, name: str, *, env: str | None = None) -> WorkflowConfig | None:
        """Return a configuration that `load_config` has loaded, if nothing that it was made of has changed since."""
        from dataflow_runtime.config.models import WorkflowConfig

        with self._lock:
            installed = self._installed
        if installed is None or installed[0] != _installation() or name not in installed[1]:
            return None
        model = self.model_of(name) if name in installed[2] else WorkflowConfig
        key = (name, installed[1][name].config_file, self._env(env), model, "")
        with self._lock:
            cached = self._cache.get(key)
        return cached.config if cached is not None and cached.is_current(name) else None

    def validate_config(
        self,
        name: str,
        model: type[M],
        *,
        env: str | None = None,
        overrides: Mapping[str, object] | None = None,
    ) -> M:
        """Return the configuration of a workflow as an instance of `model`; else as `load_config`."""
        return cast("M", self._load(name, model, env, overrides).config)

    def list_configs(self) -> list[ConfigFile]:
        """Return the configurations of all installed workflows, by name; reads none of them."""
        configs = []
        for workflow in self._workflows().values():
            file = workflow.config_file
            overlays = sorted(file.parent.glob("config.*.yaml")) if file else []
            names = tuple(
                overlay.name.split(".")[1] for overlay in overlays if overlay.name.count(".") == 2
            )
            configs.append(
                ConfigFile(
                    workflow.name,
                    workflow.package,
                    file,
                    names,
                    file is not None and file.is_file(),
                )
            )
        return configs

    def check(
        self,
        name: str,
        *,
        env: str | None = None,
        overrides: Mapping[str, object] | None = None,
        text: str | None = None,
    ) -> CheckedConfig:
        """Return what is wrong, or only questionable, in a configuration; `text` stands for ``config.yaml``.

        Raises:
            UsageError: No installed package advertises the workflow, or `env` is not a name.
        """
        try:
            if text is not None or overrides:
                # What is only tried is not kept.
                file = self.config_file(name)
                self._require_overlay(name, file, env)
                texts = {file: text} if text is not None else None
                loaded = _load(
                    name, file, self._env(env), overrides, self.model_of(name), texts=texts
                )
            else:
                loaded = self._load(name, self.model_of(name), env, overrides)
        except ConfigError as error:
            return CheckedConfig(name, error.problems)
        except UsageError:
            raise
        except DataflowError as error:
            return CheckedConfig(name, [Problem("", error.message, hint=error.hint)])
        return CheckedConfig(name, (), config_warnings(loaded.layers, loaded.secret_paths))

    def validate_candidate(self, name: str, text: str, *, env: str | None = None) -> CheckedConfig:
        """Check a text that could replace a workflow's ``config.yaml``, whoever wrote it.

        The environment is not read: values that mention variables are checked for syntax only, so that
        the answer cannot show what a variable of this process holds.

        Args:
            name: The workflow.
            text: The candidate.
            env: Name of an overlay of the workflow; None for none.

        Raises:
            UsageError: No installed package advertises the workflow, or it has no such overlay.
        """
        from dataflow_runtime.config.validation import Validation

        file = self.config_file(name)
        self._require_overlay(name, file, env)
        try:
            model = self.model_of(name)
        except DataflowError as error:
            return CheckedConfig(name, [Problem("", error.message, hint=error.hint)])
        layers = layered(name, file, env, {}, texts={file: text})
        outcome = Validation(layers, model, None, {"workflow": name, "root": file.parent})
        warnings = config_warnings(layers, frozenset(outcome.secrets))
        return CheckedConfig(name, outcome.problems, () if outcome.problems else warnings)

    def set_values(
        self,
        name: str,
        assignments: Mapping[str, str],
        *,
        file: Path | None = None,
        force: bool = False,
    ) -> Path:
        """Write values into a workflow's ``config.yaml``, or into `file`, and return the file; see `edit.set_value`.

        An assignment that makes the configuration invalid is refused and nothing is written; mistakes that were there
        before do not stand in the way. An overlay (``config.<env>.yaml``) is validated on top of its ``config.yaml``.

        Raises:
            ConfigError: What would be invalid.
            UsageError: Unknown workflow, or a key that leads nowhere.
            DataflowError: A value comes from a variable and `force` is not given.
        """
        from dataflow_runtime.config.edit import edit_file, set_value

        installed = self.config_file(name)
        if file is None:
            file = installed
        elif not file.exists() and (installed.parent / file).exists():
            file = installed.parent / file
        file = file.absolute()
        overlay = re.fullmatch(r"(.+)\.([A-Za-z0-9_-]+)(\.ya?ml)", file.name)
        base = file.with_name(overlay[1] + overlay[3]) if overlay else file
        if not base.is_file():
            base, overlay = file, None
        # What the environment overrides is not what the file says.
        prefix = f"DATAFLOW__{name.upper()}__"
        environ = {key: value for key, value in os.environ.items() if not key.startswith(prefix)}
        model = self.model_of(name)

        def problems(text: str) -> Sequence[Problem]:
            try:
                _load(
                    name,
                    base,
                    overlay[2] if overlay else None,
                    None,
                    model,
                    texts={file: text},
                    environ=environ,
                )
            except ConfigError as error:
                return error.problems
            return ()

        def change(old: str) -> str:
            new = old
            for dotted, value in assignments.items():
                new = set_value(new, dotted, value, file=file, force=force)
            before = {(problem.path, problem.message) for problem in problems(old)}
            added = [
                problem
                for problem in problems(new)
                if (problem.path, problem.message) not in before
            ]
            if added:
                unknown = all(problem.message == UNKNOWN_KEY for problem in added)
                raise (UnknownKeyError if unknown else ConfigError)(
                    added, hint="nothing was written"
                )
            return new

        edit_file(file, change)
        return file

    def effective(
        self, name: str, *, env: str | None = None, overrides: Mapping[str, object] | None = None
    ) -> EffectiveConfig:
        """Return every value that a run would use, secrets masked, with its origin; raises as `load_config`."""
        loaded = self._load(name, self.model_of(name), env, overrides)
        return effective_config(
            name, self._env(env), loaded.config, loaded.layers, loaded.secret_paths
        )

    def secret_keys(
        self, name: str, *, env: str | None = None, overrides: Mapping[str, object] | None = None
    ) -> set[str]:
        """Return the dotted keys of a configuration that hold secrets; raises as `load_config`."""
        loaded = self._load(name, self.model_of(name), env, overrides)
        return {".".join(path) for path in loaded.secret_paths}

    def config_file(self, name: str) -> Path:
        """Return where a workflow's ``config.yaml`` stands.

        Raises:
            UnknownWorkflowError: No installed package advertises the workflow.
            ConfigError: The advertised module cannot be found.
        """
        workflows = self._workflows()
        if name not in workflows:
            raise UnknownWorkflowError(name, workflows)
        file = workflows[name].config_file
        if file is None:
            raise ConfigError([Problem("", f"workflow {name!r}: {workflows[name].error}")])
        return file

    def model_of(self, name: str) -> type[WorkflowConfig]:
        """Return the model of a workflow: its own (entry-point group ``dataflow.config_models``), or `WorkflowConfig`.

        Raises:
            DataflowError: Its own cannot be imported, or is not a subclass of `WorkflowConfig`.
        """
        from dataflow_runtime.config.models import WorkflowConfig

        entry_point = self._snapshot()[1].get(name)
        if entry_point is None:
            return WorkflowConfig
        what = f"config model {entry_point.value!r} of workflow {name!r}"
        if entry_point.dist is not None:
            what += f" ({entry_point.dist.name} {entry_point.dist.version})"
        try:
            model = entry_point.load()
        except (Exception, SystemExit) as error:
            raise DataflowError(
                f"{what} cannot be imported: {type(error).__name__}: {error}"
            ) from error
        if not (isinstance(model, type) and issubclass(model, WorkflowConfig)):
            raise DataflowError(f"{what}: expected a subclass of WorkflowConfig, found {model!r}")
        return model

    def _load(
        self,
        name: str,
        model: type[BaseModel],
        env: str | None,
        overrides: Mapping[str, object] | None,
    ) -> _Loaded:
        file = self.config_file(name)
        self._require_overlay(name, file, env)
        env = self._env(env)
        key = (name, file, env, model, repr(sorted(overrides.items())) if overrides else "")
        with self._lock:
            cached = self._cache.get(key)
        if cached is not None and cached.is_current(name):
            return cached
        loaded = _load(name, file, env, overrides, model)
        with self._lock:
            self._cache.pop(key, None)
            while len(self._cache) >= _CACHE_SIZE:
                del self._cache[next(iter(self._cache))]
            self._cache[key] = loaded
        return loaded

    @staticmethod
    def _require_overlay(name: str, file: Path, env: str | None) -> None:
        # DATAFLOW_ENV speaks to a whole fleet, in which not every workflow has an overlay; an argument means this one.
        if env and not overlay_file(file, env).exists():
            known = [overlay.name.split(".")[1] for overlay in file.parent.glob("config.*.yaml")]
            hint = did_you_mean(env, known) or (
                f"there are: {', '.join(sorted(known))}" if known else None
            )
            raise UsageError(f"workflow {name!r} has no {overlay_file(file, env).name}", hint=hint)

    @staticmethod
    def _env(env: str | None) -> str | None:
        if env is not None:
            return env or None
        # What `settings` says, without building all settings: this stands on the path of a cached config.
        return os.environ.get("DATAFLOW_ENV") or None

    def _workflows(self) -> dict[str, InstalledWorkflow]:
        return self._snapshot()[0]

    def _snapshot(
        self,
    ) -> tuple[dict[str, InstalledWorkflow], dict[str, importlib.metadata.EntryPoint]]:
        """Return the installed workflows and config models, found again when a folder of ``sys.path`` changes."""
        key = _installation()
        with self._lock:
            if self._installed is None or self._installed[0] != key:
                workflows: dict[str, InstalledWorkflow] = {}
                for workflow in find_workflows():
                    workflows.setdefault(workflow.name, workflow)
                models = {
                    point.name: point
                    for point in importlib.metadata.entry_points(group=MODEL_GROUP)
                }
                self._installed = (key, workflows, models)
            return self._installed[1], self._installed[2]


def _load(
    name: str,
    file: Path,
    env: str | None,
    overrides: Mapping[str, object] | None,
    model: type[BaseModel],
    *,
    texts: Mapping[Path, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> _Loaded:
    from dataflow_runtime.config.validation import Validation

    # Taken before reading: a change in between is seen the next time.
    environ = dict(os.environ) if environ is None else environ
    files = {path: _stamp(path) for path in [file, *([overlay_file(file, env)] if env else [])]}
    layers = layered(name, file, env, environ, overrides, texts=texts)
    outcome = Validation(layers, model, environ, {"workflow": name, "root": file.parent})
    if outcome.config is None:
        made_up = all(
            problem.message == UNKNOWN_KEY and problem.place == "--set"
            for problem in outcome.problems
        )
        raise (UnknownKeyError if made_up else ConfigError)(outcome.problems)
    names = {
        name for _, node in layers.scalars if node.source.is_file for name in variables_of(node)
    }
    variables = {variable: environ.get(variable) for variable in names}
    return _Loaded(
        outcome.config,
        layers,
        frozenset(outcome.secrets),
        files,
        variables,
        environment_variables(name, environ),
    )


def _installation() -> object:
    """Return what changes when a package is installed or removed."""
    return tuple((folder, _stamp(folder or os.curdir)) for folder in sys.path)


def _stamp(path: Path | str) -> object:
    """Return what changes when a file does; None for one that is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


config_manager = ConfigManager()
