from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime.errors import UsageError
from dataflow_runtime.settings import get_settings


@pytest.fixture(autouse=True)
def bare(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAFLOW_HOME")
    monkeypatch.delenv("DAGSTER_HOME")


def test_the_home_is_that_of_the_working_directory(tmp_path: Path) -> None:
    assert get_settings().home == tmp_path / ".dataflow"
    assert not (tmp_path / ".dataflow").exists()


def test_the_home_is_that_of_the_nearest_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    (tmp_path / ".dataflow").mkdir()
    (tmp_path / "a" / ".dataflow").mkdir()
    (tmp_path / "a" / "b" / ".dataflow").touch()  # a file, not a folder
    monkeypatch.chdir(inner)
    assert get_settings().home == tmp_path / "a" / ".dataflow"


def test_a_given_home_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLOW_HOME", "state")
    assert get_settings().home == tmp_path / "state"
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("DATAFLOW_HOME", "~/state")
    assert get_settings().home == tmp_path / "me" / "state"


def test_settings_follow_the_environment_and_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = get_settings()
    assert get_settings() is first
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert get_settings().home == tmp_path / "inner" / ".dataflow"
    (tmp_path / ".dataflow").mkdir()
    assert get_settings().home == tmp_path / ".dataflow"
    monkeypatch.setenv("DATAFLOW_EXECUTOR", "dask")
    assert get_settings().executor == "dask"
    monkeypatch.delenv("DATAFLOW_EXECUTOR")
    assert get_settings().executor == "in_process"


def test_empty_variables_count_as_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "ENV", "WORKFLOWS", "EXECUTOR", "STAGING", "API_TOKEN"):
        monkeypatch.setenv(f"DATAFLOW_{name}", "")
    settings = get_settings()
    assert settings.home == tmp_path / ".dataflow"
    assert settings.staging_root == str(tmp_path / ".dataflow" / "staging")
    assert (settings.executor, settings.workflows) == ("in_process", ())
    assert not settings.env
    assert settings.api_token is None


def test_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLOW_WORKFLOWS", " a, b,,c ")
    monkeypatch.setenv("DATAFLOW_ENV", "prod")
    monkeypatch.setenv("DATAFLOW_EXECUTOR", "multiprocess")
    monkeypatch.setenv("DATAFLOW_STAGING", str(tmp_path / "fast"))
    monkeypatch.setenv("DATAFLOW_API_TOKEN", "planted-token")
    settings = get_settings()
    assert settings.workflows == ("a", "b", "c")
    assert (settings.env, settings.executor) == ("prod", "multiprocess")
    assert settings.staging_root == str(tmp_path / "fast")
    assert "planted-token" not in repr(settings)


def test_variables_of_configurations_do_not_change_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = get_settings()
    # Workflows may have the name of a setting.
    for name in ("GOOD__SOURCE__TYPE", "EXECUTOR", "ENV__SOURCE__TYPE", "DASHBOARDS_TITLE"):
        monkeypatch.setenv(f"DATAFLOW__{name}", "mock")
    assert get_settings() == before


def test_dagsters_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_settings().dagster_home == tmp_path / ".dataflow" / "dagster"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "elsewhere"))
    assert get_settings().dagster_home == tmp_path / "elsewhere"


def test_the_home_is_made_once_and_never_committed(tmp_path: Path) -> None:
    settings = get_settings()
    assert settings.make_home() is True
    (settings.dagster_home / "dagster.yaml").write_text("# mine\n")
    assert settings.make_home() is False
    assert (settings.home / ".gitignore").read_text() == "*\n"
    assert (settings.dagster_home / "dagster.yaml").read_text() == "# mine\n"


def test_a_home_that_cannot_be_made_is_the_users_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATAFLOW_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="DATAFLOW_HOME"):
        get_settings().make_home()
