"""config.yaml is valid, and the environment overrides it."""

import pytest
from dataflow_runtime.config import ConfigError, WorkflowConfig, config_manager


def test_config_yaml_is_valid(config: WorkflowConfig) -> None:
    assert config.source.type == "file"
    assert config.output.warehouse == "duckdb"
    assert config.schedule.cron == "0 * * * *"
    assert config.schedule.timezone == "UTC"
    assert config_manager.validate_config("example_workflow", WorkflowConfig) == config


def test_the_primary_key_and_the_cursor_are_declared_columns(config: WorkflowConfig) -> None:
    assert set(config.processing.primary_key) <= set(config.processing.columns)
    assert config.processing.cursor is not None
    assert config.processing.cursor.column in config.processing.columns


def test_the_environment_overrides_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLOW__EXAMPLE_WORKFLOW__PROCESSING__BATCH_SIZE", "7")
    assert config_manager.load_config("example_workflow").processing.batch_size == 7


def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLOW__EXAMPLE_WORKFLOW__PROCESSING__BATCH_SIZE", "many")
    with pytest.raises(ConfigError, match="batch_size"):
        config_manager.load_config("example_workflow")
