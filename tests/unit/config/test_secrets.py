"""What is masked, where, and what is left readable."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime.config import ConfigError, ConfigManager
from dataflow_runtime.config.secrets import (
    MASK,
    forget_secrets,
    is_secret_key,
    mask,
    masked_value,
    remember_secrets,
    temporary_secrets,
)

Install = Callable[..., Path]

API = "source:\n  type: api\n  api:\n    url: https://example.org\n"
POSTGRES = "source:\n  type: mock\noutput:\n  warehouse: postgres\n  postgres:\n    url: ${URL}\n"
SECRET = "hunter2/secret+x"


@pytest.fixture
def configs() -> ConfigManager:
    return ConfigManager()


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    forget_secrets()


@pytest.mark.parametrize(
    "key",
    [
        "password", "DB_PASSWORD", "X-RapidAPI-Key", "Ocp-Apim-Subscription-Key", "X-Auth-Key",
        "key", "accessToken", "clientSecret", "apiKey", "API_KEY", "apikey",
        "AWS_SECRET_ACCESS_KEY", "sig", "Cookie", "private-key", "Authorization", "token_2",
        "passphrase",
    ],
)  # fmt: skip
def test_names_of_secrets(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize(
    "key",
    ["primary_key", "token_url", "secret_name", "keys", "monkey", "signal", "design", "tokens",
     "password_path", "id", "keyboard", "author"],
)  # fmt: skip
def test_names_of_other_keys(key: str) -> None:
    assert not is_secret_key(key)


@pytest.mark.parametrize(
    "written",
    [
        lambda secret: secret,
        lambda secret: repr(secret),
        lambda secret: repr(secret.encode()),
        lambda secret: json.dumps(secret),
        lambda secret: urllib.parse.quote(secret, safe=""),
        lambda secret: urllib.parse.quote_plus(secret),
        lambda secret: base64.b64encode(secret.encode()).decode(),
    ],
)
@pytest.mark.parametrize(
    "secret", [SECRET, "two\nhunter2-lines", 'hunter2-"quoted"\\', "hünter2-ß"]
)
def test_spellings_of_a_secret(secret: str, written: Callable[[str], str]) -> None:
    remember_secrets([secret])
    masked = mask(f"before {written(secret)} after")
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    for part in ("hunter2", "hünter2", written(secret)):
        assert part not in masked


def test_each_line_of_a_secret_is_masked() -> None:
    remember_secrets(["-----BEGIN-----\nMIIEow1\nQ8z0xx9\n-----END-----\n"])
    assert mask("bad line: MIIEow1!") == "bad line: **********!"


def test_the_header_of_a_login_is_masked(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hunter2secret")
    installed("wf", API + "    auth: {type: basic, username: me, password: '${TOKEN}'}\n")
    configs.load_config("wf")
    header = base64.b64encode(b"me:hunter2secret").decode()
    assert header not in mask(f"Authorization: Basic {header}")


def test_a_longer_secret_is_masked_before_one_that_it_contains() -> None:
    remember_secrets(["hunter2", "hunter2-and-more"])
    assert mask("x hunter2-and-more y") == "x ********** y"


@pytest.mark.parametrize(
    "word", ["data", "hunter", "12345", "prod1", "postgresql", "production", "Database"]
)
def test_words_and_numbers_stay_readable(word: str) -> None:
    remember_secrets([word])
    text = f"database postgresql, production: 12345 rows of {word}"
    assert mask(text) == text


def test_a_short_secret_is_masked_by_its_place(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "data")
    text = "source:\n  type: database\n  name: database of ${PW}\n  database:\n"
    installed("wf", text + "    url: postgresql://u:${PW}@h/database\n    table: data\n")
    shown = configs.show("wf").config["source"]
    assert shown["type"] == "database"
    assert shown["database"]["table"] == "data"
    assert (shown["name"], shown["database"]["url"]) == ("**********",) * 2


def test_messages_are_not_eaten() -> None:
    text = "source.api.auth.token: required key is missing\nnext line, and more"
    assert mask(text) == text


def test_parameters_and_passwords_of_urls() -> None:
    text = "GET https://me:p@ss/word@host/a?token=abc&page=2&sig=x%2Fy&q=1 failed"
    expected = "GET https://me:**********@host/a?token=**********&page=2&sig=**********&q=1 failed"
    assert mask(text) == expected


def test_temporary_secrets_are_forgotten() -> None:
    with temporary_secrets():
        remember_secrets([SECRET])
        assert mask(SECRET) == "**********"
    assert mask(SECRET) == SECRET


def test_the_line_break_at_the_end_of_a_secret_is_dropped(
    installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOK", "hunter2secret\n")
    text = "    headers: {X-Token: '${TOK}'}\n    auth: {type: bearer, token: '${TOK}'}\n"
    installed("wf", API + text)
    api: Any = configs.load_config("wf").source.api
    assert api.auth.token.get_secret_value() == "hunter2secret"
    assert api.headers["X-Token"] == "hunter2secret"
    # Also in the error of a library that got the variable in another way.
    assert "hunter2" not in mask(repr("Invalid header value b'Bearer hunter2secret\\n'"))


@pytest.mark.parametrize(
    "password",
    ["a/hunter2", "a#hunter2", "a[hunter2", "a@hunter2", "50%hunter2", "1/hunter2", "a?hunter2"],
)
@pytest.mark.parametrize("kind", ["output", "source"])
def test_a_password_that_is_not_encoded_is_an_error_with_a_hint(
    password: str,
    kind: str,
    installed: Install,
    configs: ConfigManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("URL", f"postgresql://u:{password}@host:5432/db")
    database = "source:\n  type: database\n  database:\n    url: ${URL}\n    table: t\n"
    installed("wf", POSTGRES if kind == "output" else database)
    with pytest.raises(ConfigError, match="percent-encode special characters") as caught:
        configs.load_config("wf")
    assert "hunter2" not in str(caught.value)
    encoded = urllib.parse.quote(password, safe="")
    monkeypatch.setenv("URL", f"postgresql://u:{encoded}@host:5432/db")
    configs.load_config("wf")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///db?host=/var/run/postgresql",
        "postgresql://u:p@/db?host=/tmp",
        "postgresql://u@h1:5432,h2:5433/db?target_session_attrs=read-write",
        "postgresql+psycopg2://u:p@[::1]:5432/db",
        "postgresql://%2Ftmp%2Fsocket/db",
        "sqlite:////tmp/with space/a@b#c.db",
        "sqlite://",
        "duckdb:///:memory:",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BX%7D%3BPWD%3Da",
        "snowflake://u:p@account.region/db/schema?warehouse=w",
    ],
)
def test_urls_of_databases(
    url: str, installed: Install, configs: ConfigManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("URL", url)
    installed("wf", "source:\n  type: database\n  database:\n    url: ${URL}\n    table: t\n")
    configs.load_config("wf")


@pytest.mark.parametrize(
    ("overrides", "secret"),
    [
        ({"source.api.auth": "{type: bearer, token: hunter2-x}"}, True),
        ({"source.api.auth": {"type": "bearer", "token": "hunter2-x"}}, True),
        ({"source": {"api": {"auth": {"type": "bearer", "token": "hunter2-x"}}}}, True),
        ({"source.api.auth.type": "bearer", "source.api.auth.token": "hunter2-x"}, True),
        ({"source.api.params.apiKey": "hunter2-x"}, True),
        ({"source.api.url": "https://example.org/?token=hunter2-x"}, True),
        ({"source.api.params.day": "today"}, False),
    ],
)
def test_secret_overrides_reach_the_steps_unrecorded(
    overrides: dict[str, object],
    secret: bool,
    installed: Install,
    configs: ConfigManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed("wf", API)
    wanted = configs.load_config("wf", overrides=overrides)
    recorded, variables = configs.without_secrets("wf", overrides)
    assert "hunter2" not in repr(recorded)
    assert bool(variables) == secret
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert configs.load_config("wf", overrides=recorded) == wanted


def test_a_password_may_be_empty(installed: Install, configs: ConfigManager) -> None:
    installed("wf", API + "    auth: {type: basic, username: key, password: ''}\n")
    assert configs.show("wf").config["source"]["api"]["auth"]["password"] == ""


def test_types_of_columns_are_not_secrets(installed: Install, configs: ConfigManager) -> None:
    installed(
        "wf", "source:\n  type: mock\nprocessing:\n  columns: {key: string, token: integer}\n"
    )
    columns = configs.show("wf").config["processing"]["columns"]
    assert columns == {"key": "string", "token": "integer"}


def test_what_is_below_the_key_of_a_secret_is_masked() -> None:
    value = [{"token": {"id": "abc", "part": 12}, "name": "orders"}]
    assert masked_value(value) == [{"token": {"id": MASK, "part": MASK}, "name": "orders"}]
