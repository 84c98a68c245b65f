"""What the tests run against: a warehouse of their own, and a source whose rows are known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dataflow_runtime.config import WorkflowConfig, config_manager

Query = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep state and configuration of the machine out of the tests."""
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    monkeypatch.delenv("DATAFLOW_ENV", raising=False)
    return tmp_path / "home"


@pytest.fixture
def query(home: Path) -> Query:
    """Return a function that runs a query on the warehouse."""

    def run(sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(home / "example_workflow.duckdb", read_only=True) as connection:
            # As for the dashboard's queries: tables go by their bare names.
            connection.execute("set search_path = 'example_workflow_marts,example_workflow_raw'")
            return connection.sql(sql).fetchall()

    return run


@pytest.fixture
def config() -> WorkflowConfig:
    return config_manager.load_config("example_workflow")
