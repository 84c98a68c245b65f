"""`config_manager`: loads, validates, shows and edits the configurations of installed workflows."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from dataflow_runtime.config.problems import ConfigError, ConfigProblem, UnknownKeyError
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.config.tree import defaults_file, override_variables, stamp
from dataflow_runtime.errors import DataflowError, UnknownWorkflowError, UsageError, did_you_mean
from dataflow_runtime.workflows.discovery import (
    InstalledWorkflow,
    advertising_packages,
    find_workflows,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dataflow_runtime.config.layers import Layers
    from dataflow_runtime.config.models import WorkflowConfig
    from dataflow_runtime.config.origins import ShownConfig

MODEL_GROUP = "dataflow.config_models"
_CACHE_SIZE = 1_000
# The fields of `Settings`: importing them takes longer than validating a configuration.
_SETTINGS = """
    HOME ENV DEFAULTS WORKFLOWS EXECUTOR STAGING API_TOKEN
    DASHBOARDS_TITLE DASHBOARDS_BASE_PATH DASHBOARDS_THEME DASHBOARDS_SCHEDULE
    DASHBOARDS_URL DASHBOARDS_DAGSTER_URL
"""

M = TypeVar("M", bound="BaseModel")
Overrides = Mapping[str, object]


@dataclass(frozen=True)
class ConfigFile:
    """The configuration file of an installed workflow.

    Attributes:
        name: The workflow.
        package: Its distribution.
        file: Its ``config.yaml``, None if the package's module cannot be found.
        environments: Names of its overlays (``config.<env>.yaml``).
        exists: Whether the file exists.
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
    problems: Sequence[ConfigProblem] = ()
    warnings: Sequence[ConfigProblem] = ()

    @property
    def valid(self) -> bool:
        """Whether the configuration can be used."""
        return not self.problems


class _Loaded(NamedTuple):
    """A validated config and what it depends on; valid as long as the inputs are the same."""

    config: Any
    layers: Layers
    secret_paths: frozenset[tuple[str, ...]]
    files: Mapping[Path, object]
    variables: Mapping[str, str | None]
    overriding: Mapping[str, str]

    def is_current(self, name: str) -> bool:
        return (
            all(stamp(file) == found for file, found in self.files.items())
            and all(os.environ.get(key) == value for key, value in self.variables.items())
            and override_variables(name, os.environ) == self.overriding
        )


class _Installed(NamedTuple):
    """Installed workflows and config models, found again when a folder of `sys.path` changes."""

    stamps: object
    workflows: dict[str, InstalledWorkflow]
    models: dict[str, EntryPoint]


class ConfigManager:
    """Configurations by workflow, cached by the files and variables they depend on. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cache: dict[tuple[object, ...], _Loaded] = {}
        self._found: _Installed | None = None

    def load_config(
        self, name: str, *, env: str | None = None, overrides: Overrides | None = None
    ) -> WorkflowConfig:
        """Return the configuration of a workflow: an instance of its own model if it brings one.

        Args:
            name: The workflow.
            env: Name of the overlay; None for ``DATAFLOW_ENV``.
            overrides: Dotted key to value; text is read as YAML.

        Raises:
            ConfigError: It is not valid; carries every problem.
            UsageError: No installed package advertises the workflow, or there is no such overlay.
        """
        loaded = self._load(name, self.model_of(name), env, overrides)
        if loaded.layers.old_keys:
            from dataflow_runtime.config.old_keys import warn_of

            warn_of(loaded.layers.old_keys)
        return cast("WorkflowConfig", loaded.config)

    def validate_config(
        self,
        name: str,
        model: type[M],
        *,
        env: str | None = None,
        overrides: Overrides | None = None,
    ) -> M:
        """Return the configuration of a workflow as a `model`; otherwise as `load_config`."""
        return cast("M", self._load(name, model, env, overrides).config)

    def list_configs(self) -> list[ConfigFile]:
        """Return the configurations of all installed workflows, by name; reads none of them."""
        configs = []
        for name, workflow in self._installed().workflows.items():
            file = workflow.config_file
            exists = file is not None and file.is_file()
            overlays = tuple(_overlays(file)) if file else ()
            configs.append(ConfigFile(name, workflow.package, file, overlays, exists))
        return configs

    def check(
        self, name: str, *, env: str | None = None, overrides: Overrides | None = None
    ) -> CheckedConfig:
        """Return the problems and the warnings of a configuration.

        Raises:
            UsageError: No installed package advertises the workflow, or there is no such overlay.
        """
        _, env = self._file_and_env(name, env)
        return self._checked(name, lambda model: self._load(name, model, env or "", overrides))

    def validate_candidate(self, name: str, text: str, *, env: str | None = None) -> CheckedConfig:
        """Check a text that could replace a workflow's ``config.yaml``, whoever wrote it.

        The environment is not read: values that mention variables are checked for syntax only, so
        that the answer cannot show what a variable of this process holds.

        Args:
            name: The workflow.
            text: The candidate.
            env: Name of an overlay of the workflow; None for none.

        Raises:
            UsageError: No installed package advertises the workflow, or there is no such overlay.
        """
        file, env = self._file_and_env(name, env or "")
        texts = {file: text}
        return self._checked(name, lambda model: _load(name, file, env, None, model, None, texts))

    def _checked(self, name: str, load: Callable[[type[BaseModel]], _Loaded]) -> CheckedConfig:
        from dataflow_runtime.config.origins import config_warnings

        try:
            loaded = load(self.model_of(name))
        except ConfigError as error:
            return CheckedConfig(name, error.problems)
        except DataflowError as error:
            return CheckedConfig(name, [ConfigProblem("", error.message, hint=error.hint)])
        return CheckedConfig(name, (), config_warnings(loaded.layers, loaded.secret_paths))

    def set_values(
        self,
        name: str,
        assignments: Mapping[str, str],
        *,
        file: Path | None = None,
        force: bool = False,
    ) -> Path:
        """Write values into ``config.yaml``, or into `file`, and return the file.

        An assignment that makes the configuration invalid is refused and nothing is written;
        mistakes that were there before do not matter. An overlay (``config.<env>.yaml``) is
        validated on top of its ``config.yaml``; a bare name is a file beside it.

        Raises:
            ConfigError: What would be invalid.
            UsageError: Unknown workflow, or a key that leads nowhere.
            DataflowError: The file cannot be written, or a value comes from a variable and `force`
                is not given.
        """
        from dataflow_runtime.config.edit import edit_file, set_value

        target = self._editable(name, file)
        overlay = re.fullmatch(r"(.+)\.([A-Za-z0-9_-]+)(\.ya?ml)", target.name)
        base = target.with_name(overlay[1] + overlay[3]) if overlay else target
        env = overlay[2] if overlay and base.is_file() else None
        model = self.model_of(name)
        # What the environment overrides is not what the file says.
        environ = dict(os.environ.items() - override_variables(name, os.environ).items())

        def problems(text: str) -> Sequence[ConfigProblem]:
            try:
                _load(name, base if env else target, env, None, model, environ, {target: text})
            except ConfigError as error:
                return error.problems
            return ()

        def change(old: str) -> str:
            new = old
            for dotted, value in assignments.items():
                new = set_value(new, dotted, value, file=target, force=force)
            before = [(problem.path, problem.message) for problem in problems(old)]
            after = {(problem.path, problem.message): problem for problem in problems(new)}
            added = [problem for key, problem in after.items() if key not in before]
            if added:
                raise _error(added, hint="nothing was written")
            return new

        edit_file(target, change)
        return target

    def _editable(self, name: str, file: Path | None) -> Path:
        installed = self.config_file(name)
        target = file or installed
        beside = installed.parent / target
        if not target.exists() and (len(target.parts) == 1 or beside.exists()):
            target = beside
        return target.absolute()

    def show(
        self, name: str, *, env: str | None = None, overrides: Overrides | None = None
    ) -> ShownConfig:
        """Return every value that a run would use, secrets masked, with its origin."""
        from dataflow_runtime.config.origins import shown_config

        loaded = self._load(name, self.model_of(name), env, overrides)
        _, env = self._file_and_env(name, env)
        return shown_config(name, env, loaded.config, loaded.layers, loaded.secret_paths)

    def without_secrets(
        self, name: str, overrides: Overrides, *, env: str | None = None
    ) -> tuple[dict[str, object], dict[str, str]]:
        """Return the overrides that may be recorded, and environment variables for the others.

        An override is a secret if it holds one anywhere: in a mapping, or in a URL.
        """
        loaded = self._load(name, self.model_of(name), env, overrides)
        recorded: dict[str, object] = {}
        variables: dict[str, str] = {}
        for dotted, value in overrides.items():
            keys = dotted.split(".")
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            is_secret = mask(text) != text
            for path in loaded.secret_paths:
                shorter = min(len(path), len(keys))
                is_secret = is_secret or list(path[:shorter]) == keys[:shorter]
            if is_secret:
                variables["__".join(["DATAFLOW", name.upper(), *keys])] = text
            else:
                recorded[dotted] = value
        return recorded, variables

    def config_file(self, name: str) -> Path:
        """Return the path of a workflow's ``config.yaml``.

        Raises:
            UnknownWorkflowError: No installed package advertises the workflow.
            ConfigError: The advertised module cannot be found.
        """
        workflows = self._installed().workflows
        if name not in workflows:
            raise UnknownWorkflowError(name, workflows)
        file = workflows[name].config_file
        if file is None:
            raise ConfigError([ConfigProblem("", f"workflow {name!r}: {workflows[name].error}")])
        return file

    def model_of(self, name: str) -> type[WorkflowConfig]:
        """Return the model of a workflow: its own, if it brings one, or `WorkflowConfig`.

        Raises:
            DataflowError: Its own cannot be imported, or is not a subclass of `WorkflowConfig`.
        """
        from dataflow_runtime.config.models import WorkflowConfig

        entry_point = self._installed().models.get(name)
        if entry_point is None:
            return WorkflowConfig
        what = f"config model {entry_point.value!r} of workflow {name!r}"
        if entry_point.dist is not None:
            what += f" ({entry_point.dist.name} {entry_point.dist.version})"
        try:
            model = entry_point.load()
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataflowError(f"{what} cannot be imported: {reason}") from error
        if not (isinstance(model, type) and issubclass(model, WorkflowConfig)):
            raise DataflowError(f"{what}: expected a subclass of WorkflowConfig, found {model!r}")
        return model

    def environment_warnings(self) -> list[str]:
        """Return warnings about misspelt names of ``DATAFLOW_…`` variables."""
        settings = [f"DATAFLOW_{name}" for name in _SETTINGS.split()]
        workflows = [f"DATAFLOW__{name.upper()}__" for name in self._installed().workflows]
        warnings = []
        for variable in sorted(os.environ):
            found, known, what = variable, settings, "unknown variable"
            if variable.startswith("DATAFLOW__"):
                found = "__".join([*variable.split("__")[:2], ""])
                known, what = workflows, "no workflow of this name"
            if variable.startswith("DATAFLOW_") and found not in known:
                suggestion = did_you_mean(found.rstrip("_"), [name.rstrip("_") for name in known])
                warnings.append(f"{variable}: {what}" + (f"; {suggestion}" if suggestion else ""))
        return warnings

    def _load(
        self, name: str, model: type[BaseModel], env: str | None, overrides: Overrides | None = None
    ) -> _Loaded:
        file, env = self._file_and_env(name, env)
        key = (
            name,
            file,
            env,
            defaults_file(),
            model,
            repr(sorted(overrides.items())) if overrides else "",
        )
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

    def _file_and_env(self, name: str, env: str | None) -> tuple[Path, str | None]:
        """Return a workflow's ``config.yaml`` and the name of its overlay, by default DATAFLOW_ENV.

        Raises:
            UsageError: The workflow has no overlay of the given name, or no workflow at all has the
                overlay that the variable names.
        """
        from dataflow_runtime.config.layers import overlay_file

        file = self.config_file(name)
        given, env = env, os.environ.get("DATAFLOW_ENV", "") if env is None else env
        if not env:
            return file, None
        if overlay_file(file, env).exists():
            return file, env
        known, what = _overlays(file), f"workflow {name!r} has no config.{env}.yaml"
        if given is None:
            workflows = self._installed().workflows.values()
            files = [workflow.config_file for workflow in workflows if workflow.config_file]
            if any(overlay_file(other, env).exists() for other in files):
                return file, env
            for other in files:
                known += _overlays(other)
            what = f"DATAFLOW_ENV: no workflow has a config.{env}.yaml"
        known = sorted(set(known))
        there_are = f"there are: {', '.join(known)}" if known else None
        raise UsageError(what, hint=did_you_mean(env, known) or there_are)

    def _installed(self) -> _Installed:
        stamps = tuple((folder, stamp(folder or os.curdir)) for folder in sys.path)
        with self._lock:
            if self._found is None or self._found.stamps != stamps:
                workflows: dict[str, InstalledWorkflow] = {}
                for workflow in find_workflows():
                    workflows.setdefault(workflow.name, workflow)
                models: dict[str, EntryPoint] = {}
                for _, _, distribution in advertising_packages(MODEL_GROUP):
                    # Discovery reports an entry_points.txt that cannot be parsed.
                    with suppress(TypeError, ValueError):
                        for point in distribution.entry_points.select(group=MODEL_GROUP):
                            models.setdefault(point.name, point)
                self._found = _Installed(stamps, workflows, models)
            return self._found


def _load(
    name: str,
    file: Path,
    env: str | None,
    overrides: Overrides | None,
    model: type[BaseModel],
    environ: Mapping[str, str] | None = os.environ,
    texts: Mapping[Path, str] | None = None,
) -> _Loaded:
    from dataflow_runtime.config.layers import overlay_file, read_layers, variables_of
    from dataflow_runtime.config.validation import Validation

    # Taken before reading: a change in between is seen the next time.
    environ = None if environ is None else dict(environ)
    read = (file, overlay_file(file, env) if env else None, defaults_file())
    files = {path: stamp(path) for path in read if path is not None}
    layers = read_layers(name, file, model, environ, env=env, overrides=overrides, texts=texts)
    outcome = Validation(layers, {"workflow": name, "root": file.parent})
    if outcome.problems:
        raise _error(outcome.problems)
    environ = environ or {}
    variables = {}
    for _, node in layers.scalars():
        variables.update({variable: environ.get(variable) for variable in variables_of(node)})
    secrets, overriding = frozenset(outcome.secrets), override_variables(name, environ)
    return _Loaded(outcome.config, layers, secrets, files, variables, overriding)


def _error(problems: Sequence[ConfigProblem], hint: str | None = None) -> ConfigError:
    # A key that only a command names is wrong usage; one in a file or variable is a wrong config.
    usage = all(problem.unknown_key and (hint or problem.place == "--set") for problem in problems)
    return (UnknownKeyError if usage else ConfigError)(problems, hint=hint)


def _overlays(file: Path) -> list[str]:
    """Return the names of the overlays beside a ``config.yaml``."""
    names = [overlay.name.split(".") for overlay in file.parent.glob("config.*.yaml")]
    return sorted(parts[1] for parts in names if len(parts) == 3)


config_manager = ConfigManager()
