from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_runtime.api.errors import public
from dataflow_runtime.api.middleware import _hostname
from dataflow_runtime.api.routes import _as_yaml
from dataflow_runtime.config.secrets import (
    forget_secrets,
    mask,
    remember_secrets,
    temporary_secrets,
)
from dataflow_runtime.config.tree import Node, Source
from dataflow_runtime.config.yaml import parse_yaml

FOLDER = Path("/srv/flows/orders")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/flows/orders/config.yaml:3: no", "config.yaml:3: no"),
        ("KeyError: 'x' (/srv/flows/orders/transform.py:7)", "KeyError: 'x' (transform.py:7)"),
        (
            "claimed by /opt/python/site/other/job.py:3 (other 1.0)",
            "claimed by …/job.py:3 (other 1.0)",
        ),
        ('File "/usr/lib/python3/x.py", line 3', 'File "…/x.py", line 3'),
        ("/home/state/orders.duckdb", "$DATAFLOW_HOME/orders.duckdb"),
        ("/home/state/staging/a b/c", "$DATAFLOW_HOME/staging/a b/c"),
        # No paths, or none of this machine.
        (
            "https://example.org/a/b and postgresql://db:5432/x",
            "https://example.org/a/b and postgresql://db:5432/x",
        ),
        ("3/4 of the rows and/or a/b/c", "3/4 of the rows and/or a/b/c"),
        ("dbt/models/stg_orders.sql", "dbt/models/stg_orders.sql"),
        ("half a character \ud800", "half a character ?"),
    ],
)
def test_texts_for_others_hide_paths(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAFLOW_HOME", "/home/state")
    assert public(text, FOLDER) == shown


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("LocalHost:80", "localhost"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("", ""),
        ("a.b", "a.b"),
        ("a:b:c", "a"),
    ],
)
def test_host_headers(header: str, name: str) -> None:
    assert _hostname(header) == name


def plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    return [plain(child) for child in node.value] if isinstance(node.value, list) else node.value


# No character that YAML has no place for, and keys as short as YAML wants them.
texts = st.text(
    st.characters(
        exclude_categories=["Cs", "Cc", "Cn", "Co"], exclude_characters="\ufeff\u2028\u2029\x85"
    )
)
keys = texts.filter(lambda key: key != "<<")
values = st.recursive(
    texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)
documents = st.dictionaries(st.just("key"), values, min_size=1)


@given(value=documents, ascii_only=st.booleans(), indent=st.sampled_from([None, "\t", 2]))
def test_json_is_read_as_yaml_with_the_same_values(
    value: Any, ascii_only: bool, indent: Any
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert plain(parse_yaml(Source("file", _as_yaml(text)))) == value


def test_temporary_secrets_are_masked_in_their_block_only() -> None:
    try:
        remember_secrets(["known-to-all"])
        with temporary_secrets():
            remember_secrets(["lent-to-one"])
            assert mask("known-to-all lent-to-one") == "********** **********"
        assert mask("known-to-all lent-to-one") == "********** lent-to-one"
    finally:
        forget_secrets()
