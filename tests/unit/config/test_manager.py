from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from dataflow_runtime.config import ConfigError, ConfigManager, WorkflowConfig, manager
from dataflow_runtime.config.problems import UnknownKeyError
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError, UnknownWorkflowError, UsageError
from dataflow_runtime.settings import Settings

Install = Callable[..., Path]

MOCK = "source:\n  type: mock\n"
SECRET = "s3cr3t+planted"
DATABASE = """\
source:
  name: from ${DB_HOST}
  type: api
  api:
    url: https://${DB_HOST}/?token=${TOKEN}
    headers:
      Authorization: Bearer ${TOKEN}
      Accept: json
    auth: {type: basic, username: me, password: "${TOKEN}"}
output:
  warehouse: postgres
  postgres:
    url: postgresql://postgres:${TOKEN}@${DB_HOST}/db
processing:
  batch_size: ${N:-10}
"""


@pytest.fixture
def configs() -> ConfigManager:
    return ConfigManager()


def test_load_validate_list(installed: Install, configs: ConfigManager) -> None:
    file = installed("wf", MOCK)
    file.with_name("config.prod.yaml").write_text("processing:\n  batch_size: 5\n")
    installed("other", None)

    class Only(BaseModel):
        source: dict[str, str]

    config = configs.load_config("wf")
    assert (config.workflow, config.root, config.source.type) == ("wf", file.parent, "mock")
    assert (config.output.schema_, config.output.table, config.output.marts_schema) == (
        "wf_raw",
        "wf",
        "wf_marts",
    )
    assert config.output.write_disposition == "append"
    assert configs.load_config("wf", env="prod").processing.batch_size == 5
    assert (
        configs.load_config("wf", overrides={"processing.batch_size": "7"}).processing.batch_size
        == 7
    )
    assert (
        configs.load_config(
            "wf", overrides={"processing": {"primary_key": "id"}}
        ).output.write_disposition
        == "merge"
    )
    assert configs.validate_config("wf", Only) == Only(source={"type": "mock"})
    found = {config.name: (config.environments, config.exists) for config in configs.list_configs()}
    assert (found["other"], found["wf"]) == (((), False), (("prod",), True))


def test_environment_of_the_process(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("wf", MOCK).with_name("config.prod.yaml").write_text("processing:\n  batch_size: 5\n")
    monkeypatch.setenv("DATAFLOW_ENV", "prod")
    assert configs.load_config("wf").processing.batch_size == 5
    assert configs.load_config("wf", env="").processing.batch_size == 100_000
    monkeypatch.setenv("DATAFLOW__WF__PROCESSING__BATCH_SIZE", "6")
    assert configs.load_config("wf").processing.batch_size == 6


def test_an_overlay_asked_for_by_name_must_be_there(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("wf", MOCK).with_name("config.prod.yaml").write_text("processing:\n  batch_size: 5\n")
    with pytest.raises(
        UsageError, match=r"workflow 'wf' has no config\.prdo\.yaml\nhint: did you mean 'prod'\?"
    ):
        configs.load_config("wf", env="prdo")
    # The variable speaks to all workflows; that one of them knows the name is enough.
    installed("other", MOCK).with_name("config.test.yaml").touch()
    monkeypatch.setenv("DATAFLOW_ENV", "test")
    assert configs.load_config("wf").processing.batch_size == 100_000
    monkeypatch.setenv("DATAFLOW_ENV", "prdo")
    with pytest.raises(
        UsageError, match=r"no workflow has a config\.prdo\.yaml\nhint: did you mean 'prod'\?"
    ):
        configs.load_config("wf")
    monkeypatch.setenv("DATAFLOW_ENV", "x")
    with pytest.raises(UsageError, match=r"hint: there are: prod, test"):
        configs.check("wf")


def test_errors(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("wf", MOCK)
    installed("none", None)
    with pytest.raises(UnknownWorkflowError, match="did you mean 'wf'"):
        configs.load_config("wff")
    with pytest.raises(ConfigError, match=r"config\.yaml: the file does not exist"):
        configs.load_config("none")
    with pytest.raises(UsageError):
        configs.load_config("wf", env="../prod")
    with pytest.raises(UnknownKeyError, match="did you mean 'batch_size'") as caught:
        configs.load_config("wf", overrides={"processing.batchsize": "1"})
    assert caught.value.exit_code == 2
    monkeypatch.setenv("DATAFLOW__WF__PROCESSING__BATCHSIZE", "1")
    with pytest.raises(
        ConfigError, match=r"DATAFLOW__WF__PROCESSING__BATCHSIZE: processing.batchsize: unknown key"
    ) as error:
        configs.load_config("wf")
    assert error.value.exit_code == 1


def test_files_and_layers_are_reported_together(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("wf", MOCK + "processing:\n  batch_size: a\n").with_name(
        "config.prod.yaml"
    ).write_text("retries:\n  delay: b\n")
    monkeypatch.setenv("DATAFLOW__WF__SCHEDULE__TIMEZONE", "Nowhere")
    with pytest.raises(ConfigError) as caught:
        configs.load_config("wf", env="prod", overrides={"output.warehouse": "x"})
    places = [
        (problem.file and Path(problem.file).name, problem.place, problem.path)
        for problem in caught.value.problems
    ]
    assert places == [
        ("config.yaml", None, "processing.batch_size"),
        ("config.prod.yaml", None, "retries.delay"),
        (None, "DATAFLOW__WF__SCHEDULE__TIMEZONE", "schedule.timezone"),
        (None, "--set", "output.warehouse"),
    ]


def test_an_unchanged_config_is_not_parsed_again(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = installed("wf", MOCK + "processing:\n  batch_size: ${N:-1}\n")
    installed("other", MOCK).with_name("config.prod.yaml").touch()
    first = configs.load_config("wf")
    with monkeypatch.context() as patch:
        patch.setattr(manager, "_load", lambda *_, **__: pytest.fail("parsed again"))
        patch.setattr(manager, "find_workflows", lambda: pytest.fail("searched again"))
        assert configs.load_config("wf") is first
        patch.setenv("UNRELATED", "1")
        assert configs.load_config("wf") is first

    monkeypatch.setenv("N", "2")
    assert configs.load_config("wf").processing.batch_size == 2
    monkeypatch.delenv("N")
    assert configs.load_config("wf").processing.batch_size == 1
    file.write_text(MOCK + "processing:\n  batch_size: ${N:-3}\n")
    assert configs.load_config("wf").processing.batch_size == 3
    monkeypatch.setenv("DATAFLOW_ENV", "prod")
    assert configs.load_config("wf").processing.batch_size == 3
    file.with_name("config.prod.yaml").write_text("processing:\n  batch_size: 4\n")
    assert configs.load_config("wf").processing.batch_size == 4
    file.with_name("config.prod.yaml").unlink()
    assert configs.load_config("wf").processing.batch_size == 3
    monkeypatch.setenv("DATAFLOW__WF__PROCESSING__BATCH_SIZE", "5")
    assert configs.load_config("wf").processing.batch_size == 5


def test_threads(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        installed(f"wf{number}", MOCK + f"processing:\n  batch_size: {number + 1}\n")
    found: list[tuple[int, int]] = []

    def work() -> None:
        sizes = [
            (number, configs.load_config(f"wf{number}").processing.batch_size)
            for number in [0, 1, 2, 3] * 10
        ]
        found.extend(sizes)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 320
    assert all(size == number + 1 for number, size in found)


def test_a_workflow_brings_its_own_model(installed: Install, configs: ConfigManager) -> None:
    model = (
        "from dataflow_runtime.config import ConfigModel, WorkflowConfig\n"
        "class Alerts(ConfigModel):\n    to: str\n"
        "class Own(WorkflowConfig):\n    alerts: Alerts\n"
    )
    entry = (
        "[dataflow.config_models]\nwf = wf.settings:Own\nbad = bad.settings:x\n"
        "exits = exits.settings:Own\n"
    )
    installed("wf", MOCK + "alerts:\n  to: me\n", entry_points=entry, settings=model)
    installed("bad", MOCK, settings="x = 1\n")
    installed("exits", MOCK, settings="import sys; sys.exit('gone')\n")
    config: Any = configs.load_config("wf")
    assert config.alerts.to == "me"
    assert isinstance(config, WorkflowConfig)
    assert "alerts.to" in configs.show("wf").origins
    with pytest.raises(ConfigError, match="alerts"):
        configs.load_config("wf", overrides={"alerts": "1"})
    with pytest.raises(
        DataflowError, match=r"'bad.settings:x' of workflow 'bad' \(wf 1.0\): expected a subclass"
    ):
        configs.load_config("bad")
    problems = configs.check("exits").problems
    assert "cannot be imported: SystemExit: gone" in problems[0].message


def test_origins(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = installed("wf", MOCK + "processing:\n  batch_size: ${N:-1}\n  primary_key: [id]\n")
    overlay = file.with_name("config.prod.yaml")
    overlay.write_text("\nretries:\n  delay: 2\n")
    monkeypatch.setenv("DATAFLOW__WF__SCHEDULE__TIMEZONE", "Europe/Berlin")
    effective = configs.show("wf", env="prod", overrides={"source.mock.rows": "3"})
    origins = {
        key: (origin.layer, origin.file, origin.line, origin.variable)
        for key, origin in effective.origins.items()
    }
    assert origins["source.type"] == ("file", str(file), 2, None)
    assert origins["processing.batch_size"] == ("file", str(file), 4, "N")
    assert origins["processing.primary_key"] == ("file", str(file), 5, None)
    assert origins["retries.delay"] == ("overlay", str(overlay), 3, None)
    assert origins["schedule.timezone"] == (
        "environment",
        None,
        None,
        "DATAFLOW__WF__SCHEDULE__TIMEZONE",
    )
    assert origins["source.mock.rows"] == ("set", None, None, "source.mock.rows")
    assert origins["output.table"] == ("default", None, None, None)

    def leaves(values: dict[str, Any], path: str = "") -> list[str]:
        return [
            leaf
            for key, value in values.items()
            for leaf in (
                leaves(value, f"{path}{key}.")
                if isinstance(value, dict) and value
                else [f"{path}{key}"]
            )
        ]

    assert sorted(leaves(effective.config)) == sorted(origins)


def test_secrets_are_masked(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("wf", DATABASE)
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("DB_HOST", "db.internal")
    config = configs.load_config("wf")
    assert config.output.postgres is not None
    assert config.output.postgres.url == SecretStr(f"postgresql://postgres:{SECRET}@db.internal/db")
    effective = configs.show("wf")
    for shown in (
        repr(config),
        str(config),
        repr(effective),
        config.model_dump_json(include={"output"}),
        repr(config.source.api),
    ):
        assert SECRET not in shown
    assert effective.config["source"]["api"]["headers"] == {
        "Authorization": "**********",
        "Accept": "json",
    }
    assert effective.config["output"]["warehouse"] == "postgres"
    # the variable goes into a secret field, so wherever else it goes is masked too
    assert effective.config["source"]["name"] == "**********"
    assert mask(f"could not connect with {SECRET}!") == "could not connect with **********!"
    assert (
        mask("https://user:pw@host/?api_key=abc&x=1")
        == "https://user:**********@host/?api_key=**********&x=1"
    )
    with pytest.raises(ConfigError) as caught:
        configs.load_config(
            "wf", overrides={"source.api.auth.token": SECRET, "source.api.auth.password": [SECRET]}
        )
    assert [problem.path for problem in caught.value.problems] == [
        "source.api.auth.password",
        "source.api.auth.token",
    ]
    assert SECRET not in str(caught.value)


def test_a_token_of_digits_is_text(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(
        "wf",
        "source:\n  type: api\n  api:\n    url: https://example.org\n    auth: {type: bearer}\n",
    )
    for token in ("0123", "true", "1e5", "[x]", "{a", "{a: b}", "a: b #c"):
        monkeypatch.setenv("DATAFLOW__WF__SOURCE__API__AUTH__TOKEN", token)
        auth: Any = configs.load_config("wf").source.api.auth  # type: ignore[union-attr]
        assert auth.token.get_secret_value() == token


def test_warnings(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("DB_HOST", "h")
    installed("good", DATABASE)
    assert configs.check("good").warnings == []
    installed(
        "wf",
        DATABASE.replace("${TOKEN}", "planted-literal").replace(
            "from ${DB_HOST}", "from $HOME and $$HOST"
        ),
    )
    checked = configs.check("wf")
    assert checked.valid
    assert {problem.path for problem in checked.warnings} == {
        "source.name",
        "source.api.headers.Authorization",
        "source.api.auth.password",
        "output.postgres.url",
    }
    assert "planted" not in repr(checked)


def test_a_candidate_is_checked_in_place_of_the_file(
    installed: Install, configs: ConfigManager
) -> None:
    installed("wf", MOCK)
    assert configs.validate_candidate("wf", MOCK + "retries:\n  delay: 1\n").valid
    problems = configs.validate_candidate("wf", "source: {}\n").problems
    assert [problem.path for problem in problems] == ["source.type"]
    assert configs.load_config("wf").retries.delay == 1.0


def test_set(installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch) -> None:
    file = installed(
        "wf", MOCK + "processing:\n  batch_size: x  # broken\n  max_rejected_ratio: 0.5\n"
    )
    with pytest.raises(
        ConfigError, match=r"max_rejected_ratio: Input should be less than or equal to 1, found 2"
    ):
        configs.set_values("wf", {"processing.max_rejected_ratio": "2"})
    with pytest.raises(UnknownKeyError, match="did you mean 'max_rejected_ratio'"):
        configs.set_values("wf", {"processing.max_reject_ratio": "0.1"})
    with pytest.raises(ConfigError, match="there is no section 'api'"):
        configs.set_values("wf", {"source.type": "api"})
    assert "0.5" in file.read_text()
    # what was broken before does not stand in the way
    monkeypatch.setenv("DATAFLOW__WF__RETRIES__DELAY", "2")
    configs.set_values("wf", {"processing.max_rejected_ratio": "0.25", "retries.delay": "3"})
    assert (
        file.read_text()
        == MOCK
        + "processing:\n  batch_size: x  # broken\n  max_rejected_ratio: 0.25\n"
        + "retries:\n  delay: 3\n"
    )
    configs.set_values("wf", {"source.type": "api", "source.api.url": "https://example.org"})
    configs.set_values("wf", {"processing.batch_size": "5"})
    assert configs.load_config("wf").processing.batch_size == 5
    overlay = configs.set_values(
        "wf", {"processing.batch_size": "6"}, file=Path("wf/config.prod.yaml")
    )
    assert overlay.read_text() == "processing:\n  batch_size: 6\n"
    assert configs.load_config("wf", env="prod").processing.batch_size == 6
    with pytest.raises(ConfigError, match=r"config.prod.yaml:2:15: processing.batch_size"):
        configs.set_values("wf", {"processing.batch_size": "0"}, file=Path("config.prod.yaml"))


API = "source:\n  type: api\n  api:\n    url: https://example.org\n"


@pytest.mark.parametrize(
    "text",
    [
        "    auth: SECRET\n",
        "    auth: [bearer, SECRET]\n",
        "    auth:\n      type: bearer\n      token: |\n        SECRET\n      x: 1\n",
        "    auth:\n      type: bearer\n      token:\n      - SECRET\n",
        "    auth:\n      type: bearer\n      token: {a: SECRET}\n",
        "    headers:\n      Authorization: [SECRET]\n",
        "    headers: ['Authorization: Bearer SECRET']\n",
        "    timeout: ${TOKEN}\n",
        "    method: ${DATABASE_URL}\n",
        "output:\n  postgres: postgresql://u:SECRET@h/d\n",
        "output:\n  warehouse: postgresql://u:SECRET@h/d\n",
        "output:\n  postgres: {url: 'mysql://u:SECRET@h/d'}\n",
        "output:\n  postgres:\n    url: postgresql://u:SECRET@h/d: x\n",
        "output:\n  postgres:\n    url: &url postgresql://u:SECRET@h/d\n  table: *url\n",
        "output:\n  postgres: {url: 'postgresql://u:SECRET@${UNSET}/d'}\n",
        "processing:\n  columns: {a: SECRET, password: SECRET}\n",
    ],
)
def test_errors_hold_no_secret(
    text: str, installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{SECRET}@h/d")
    installed("wf", API + text.replace("SECRET", SECRET))
    checked = configs.check("wf")
    assert checked.problems
    assert SECRET not in repr(checked) + str(ConfigError(checked.problems))


def test_a_file_of_the_same_size_and_time_is_read_again(
    installed: Install, configs: ConfigManager
) -> None:
    file = installed("wf", MOCK + "processing:\n  batch_size: 1\n")
    found = file.stat()
    assert configs.load_config("wf").processing.batch_size == 1
    other = file.with_name("other")
    other.write_text(MOCK + "processing:\n  batch_size: 2\n")
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(file)
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (found.st_size, found.st_mtime_ns)
    assert configs.load_config("wf").processing.batch_size == 2


def test_a_variable_is_watched_beside_one_that_overrides(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("wf", MOCK + "processing:\n  batch_size: ${N:-1}\n")
    monkeypatch.setenv("DATAFLOW__WF__RETRIES__DELAY", "2")
    assert configs.load_config("wf").processing.batch_size == 1
    monkeypatch.setenv("N", "2")
    assert configs.load_config("wf").processing.batch_size == 2


def test_the_cache_is_bounded(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("wf", MOCK)
    monkeypatch.setattr(manager, "_CACHE_SIZE", 3)
    loaded = [configs.load_config("wf", overrides={"source.mock.rows": n}) for n in range(5)]
    assert len(configs._cache) == 3
    # The newest ones are kept.
    assert configs.load_config("wf", overrides={"source.mock.rows": 4}) is loaded[4]
    assert configs.load_config("wf", overrides={"source.mock.rows": 0}) is not loaded[0]


def test_the_cache_is_used_by_one_thread_at_a_time(
    installed: Install, configs: ConfigManager
) -> None:
    installed("wf", MOCK)
    configs.load_config("wf")
    done = threading.Event()
    with configs._lock:
        thread = threading.Thread(target=lambda: (configs.load_config("wf"), done.set()))
        thread.start()
        assert not done.wait(0.2)
    assert done.wait(10)
    thread.join()


def test_an_overlay_is_made_beside_its_config(
    installed: Install, configs: ConfigManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = installed("wf", MOCK)
    monkeypatch.chdir(tmp_path)
    written = configs.set_values("wf", {"retries.delay": "2"}, file=Path("config.dev.yaml"))
    assert written == file.with_name("config.dev.yaml")
    assert not (tmp_path / "config.dev.yaml").exists()
    assert configs.load_config("wf", env="dev").retries.delay == 2


def test_misspelt_variables(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("DATAFLOW")]:
        monkeypatch.delenv(name)
    installed("orders", MOCK)
    for name in ("DATAFLOW_HOME", "DATAFLOW_STAGING", "DATAFLOW__ORDERS__RETRIES__DELAY"):
        monkeypatch.setenv(name, "1")
    assert configs.environment_warnings() == []
    monkeypatch.setenv("DATAFLOW_STAGNG", "hunter2")
    monkeypatch.setenv("DATAFLOW__ORDRES__RETRIES__DELAY", "hunter2")
    assert configs.environment_warnings() == [
        "DATAFLOW_STAGNG: unknown variable; did you mean 'DATAFLOW_STAGING'?",
        "DATAFLOW__ORDRES__RETRIES__DELAY: no workflow of this name;"
        " did you mean 'DATAFLOW__ORDERS'?",
    ]


def test_every_setting_is_a_known_variable(
    configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("DATAFLOW")]:
        monkeypatch.delenv(name)
    for name in Settings.model_fields:
        monkeypatch.setenv(f"DATAFLOW_{name.upper()}", "1")
    assert configs.environment_warnings() == []
