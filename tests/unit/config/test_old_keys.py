"""Old names of keys: read in every layer, warned of, and gone when they said they would be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.version import Version

from dataflow_runtime import __version__
from dataflow_runtime.config import ConfigError, ConfigManager
from dataflow_runtime.config.old_keys import OLD_KEYS, DeprecatedKeyWarning

Install = Callable[..., Path]

API = "source:\n  type: api\n  api:\n    url: https://example.org\n"
OLD = API + "    retries: 7 # mine\n"
NEW = API + "    max_retries: 7\n"


@pytest.fixture
def configs() -> ConfigManager:
    return ConfigManager()


def max_retries(configs: ConfigManager, **options: object) -> int:
    api = configs.load_config("wf", **options).source.api  # type: ignore[arg-type]
    assert api is not None
    return api.max_retries


def test_an_old_name_in_the_file_is_read_and_warned_of(
    installed: Install, configs: ConfigManager
) -> None:
    file = installed("wf", OLD)
    with pytest.warns(DeprecatedKeyWarning) as caught:
        assert max_retries(configs) == 7
    (warning,) = caught
    # Shown by default, as its reader is the author of a configuration.
    assert issubclass(warning.category, FutureWarning)
    assert (
        "wf/config.yaml:5:5: source.api.retries: is called 'max_retries' now;"
        " the old name is read until" in str(warning.message)
    )
    checked = configs.check("wf")
    assert checked.valid
    assert [(problem.path, problem.file, problem.line) for problem in checked.warnings] == [
        ("source.api.retries", str(file), 5)
    ]
    origin = configs.show("wf").origins["source.api.max_retries"]
    assert (origin.file, origin.line) == (str(file), 5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("base", [OLD, NEW], ids=["old", "new"])
def test_a_higher_layer_wins_by_either_name(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    file = installed("wf", base)
    for name in ("retries", "max_retries"):
        file.with_name("config.prod.yaml").write_text(f"source:\n  api:\n    {name}: 8\n")
        assert max_retries(configs, env="prod") == 8
        assert max_retries(configs, env="prod", overrides={f"source.api.{name}": 10}) == 10
        monkeypatch.setenv(f"DATAFLOW__WF__SOURCE__API__{name.upper()}", "9")
        assert max_retries(configs, env="prod") == 9
        monkeypatch.delenv(f"DATAFLOW__WF__SOURCE__API__{name.upper()}")


def test_the_new_name_is_not_warned_of(
    installed: Install, configs: ConfigManager, recwarn: pytest.WarningsRecorder
) -> None:
    installed("wf", NEW)
    assert max_retries(configs) == 7
    assert not [warning for warning in recwarn if warning.category is DeprecatedKeyWarning]
    assert configs.check("wf").warnings == []


def test_both_names_in_one_file_are_an_error(installed: Install, configs: ConfigManager) -> None:
    installed("wf", OLD + "    max_retries: 8\n")
    with pytest.raises(ConfigError) as caught:
        configs.load_config("wf")
    (problem,) = caught.value.problems
    assert (problem.path, problem.line, problem.hint) == (
        "source.api.retries",
        5,
        "remove 'retries'",
    )
    assert "is the old name of 'max_retries', which is given too" in problem.message


def test_a_wrong_value_under_the_old_name_is_pointed_at(
    installed: Install, configs: ConfigManager
) -> None:
    installed("wf", API + "    retries: many\n")
    with pytest.raises(
        ConfigError,
        match=r"config\.yaml:5:14: source\.api\.max_retries: Input should be a valid integer",
    ):
        configs.load_config("wf")


def test_no_old_name_outlives_its_end() -> None:
    over = [
        f"{key.section}.{key.old}" for key in OLD_KEYS if Version(__version__) >= Version(key.ends)
    ]
    assert not over, (
        "remove them from dataflow_runtime/config/old_keys.py and docs/reference/config.md"
    )


def test_every_old_name_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "reference" / "config.md").read_text(
        encoding="utf-8"
    )
    for key in OLD_KEYS:
        assert f"| `{key.section}.{key.old}` | `{key.section}.{key.new}` | {key.ends} |" in text
