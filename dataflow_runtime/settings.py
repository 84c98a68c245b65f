"""The runtime's own settings: every ``DATAFLOW_*`` variable, read in one place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dataflow_runtime.errors import UsageError

__all__ = ["Settings", "get_settings", "temporary_environment"]

HOME_NAME = ".dataflow"
_PREFIX = "DATAFLOW_"

# Written where there is none: yours to edit.
_DAGSTER_YAML = """\
telemetry:
  enabled: false
nux:
  enabled: false
# Runs of one workflow wait for each other; those of different workflows do not.
run_coordinator:
  module: dataflow_runtime.orchestration.coordinator
  class: WorkflowRunCoordinator
concurrency:
  runs:
    tag_concurrency_limits:
      - key: dataflow/workflow
        value:
          applyLimitPerUniqueValue: true
        limit: 1
# A run whose process is lost ends as failed, instead of going on forever.
run_monitoring:
  enabled: true
"""


def _default_home() -> Path:
    """Return the ``.dataflow`` folder of the working directory or its nearest parent with one."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / HOME_NAME).is_dir():
            return folder / HOME_NAME
    return here / HOME_NAME


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


class Settings(BaseSettings):
    """The values of the ``DATAFLOW_*`` variables.

    Attributes:
        home: State: warehouses, staging, Dagster's instance.
        env: Name of the config overlay (``config.<env>.yaml``), None for none.
        defaults: YAML file with values for the configs of all workflows; None for a
            ``dataflow.yaml`` in the working directory or its parents.
        workflows: The only workflows that the Dagster code location loads; empty for all.
        executor: ``in_process``, ``multiprocess``, ``dask``, ``k8s``, or ``module:attribute``.
        staging: Folder or fsspec URL of the files between steps; None for ``<home>/staging``.
        api_token: Bearer token of the REST API.
        dashboards_title: Title of the dashboards' site.
        dashboards_base_path: Path below which a host serves the site; empty for its root.
        dashboards_theme: ``system``, ``light``, ``dark``, or a YAML file with Evidence's ``theme``
            and ``appearance``.
        dashboards_url: Address at which the site is served, for links to it from Dagster.
        dashboards_dagster_url: Address of Dagster's UI, for links from the site to runs.
        dashboards_schedule: Cron expression that rebuilds the site; None for on demand only.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    home: Path = Path()
    env: str | None = None
    defaults: Path | None = None
    workflows: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    executor: str = "in_process"
    staging: str | None = None
    api_token: SecretStr | None = None
    dashboards_title: str = "Data workflows"
    dashboards_base_path: Annotated[str, Field(pattern=r"^(/[\w.~-]+)*$")] = ""
    dashboards_theme: str = "system"
    dashboards_url: Annotated[str | None, Field(pattern=r"^https?://")] = None
    dashboards_dagster_url: Annotated[str | None, Field(pattern=r"^https?://")] = None
    dashboards_schedule: str | None = None

    def model_post_init(self, _context: object, /) -> None:
        """Make the home absolute: runs and dbt work in other folders."""
        home = self.home.expanduser() if "home" in self.model_fields_set else _default_home()
        object.__setattr__(self, "home", home.absolute())

    @property
    def staging_root(self) -> str:
        """The folder or URL of all staging."""
        if self.staging and "://" in self.staging:
            return self.staging.rstrip("/")
        return str(Path(self.staging or self.home / "staging").expanduser().absolute())

    @property
    def dagster_home(self) -> Path:
        """Where Dagster records runs: ``DAGSTER_HOME``, by default ``<home>/dagster``."""
        return Path(os.environ.get("DAGSTER_HOME") or self.home / "dagster")

    def make_home(self) -> bool:
        """Make the home folder and Dagster's if they are missing; return whether home is new.

        Raises:
            UsageError: One of them cannot be made or written to.
        """
        new = not self.home.is_dir()
        for variable, file, text in (
            # State is never committed by accident.
            ("DATAFLOW_HOME", self.home / ".gitignore", "*\n"),
            ("DAGSTER_HOME", self.dagster_home / "dagster.yaml", _DAGSTER_YAML),
        ):
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                if not file.exists():
                    file.write_text(text, encoding="utf-8")
            except OSError as error:
                raise UsageError(
                    f"{variable}: {file.parent}: {error.strerror or error}",
                    hint=f"set {variable} to a folder that you can write to",
                ) from error
        return new


def get_settings() -> Settings:
    """Return the settings that the environment and the working directory give now.

    Raises:
        UsageError: A variable has a value that its setting does not allow.
    """
    names = (name for name in os.environ if name == "HOME" or name.upper().startswith(_PREFIX))
    variables = tuple((name, os.environ[name]) for name in sorted(names))
    return _read_settings(variables, _default_home(), Path.cwd())


@lru_cache(maxsize=16)
def _read_settings(*_depends_on: object) -> Settings:
    # Cached because building a model takes 0.5 ms, and every workflow asks several times.
    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        raise UsageError(f"DATAFLOW_{str(problem['loc'][0]).upper()}: {problem['msg']}") from None


@contextmanager
def temporary_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while the block runs, for tools and processes that read them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
