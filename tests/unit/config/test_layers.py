from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.layers import Layers, overlay_file, override_node, read_layers
from dataflow_runtime.errors import UsageError


class AnyKeys(BaseModel):
    """A model that says nothing about its keys."""


def read(file: Path, environ: dict[str, str] | None = None, **more: Any) -> Layers:
    return read_layers("wf", file, AnyKeys, environ or {}, **more)


def resolved(file: Path, environ: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    layers = read(file, environ, **more)
    values = layers.values()
    assert layers.problems == []
    return values


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text("a:\n  b: 1\n  list: [1, 2]\n  Key: x\n  map: {p: 1, q: 2}\n")
    return file


def test_each_layer_wins_over_the_one_below(file: Path) -> None:
    overlay_file(file, "prod").write_text("a:\n  b: 2\n  map: {q: 3, r: 4}\n")
    environ = {"DATAFLOW__WF__A__B": "3", "DATAFLOW__OTHER__A__B": "9", "DATAFLOW__WFX__A__B": "9"}
    assert resolved(file)["a"]["b"] == 1
    assert resolved(file, env="prod")["a"] == {
        "b": 2,
        "list": [1, 2],
        "Key": "x",
        "map": {"p": 1, "q": 3, "r": 4},
    }
    assert resolved(file, env="other")["a"]["b"] == 1
    assert resolved(file, environ, env="prod")["a"]["b"] == 3
    assert resolved(file, environ, env="prod", overrides={"a.b": "4"})["a"]["b"] == 4


def test_lists_and_scalars_replace(file: Path) -> None:
    assert resolved(file, overrides={"a.list": "[3]"})["a"]["list"] == [3]
    assert resolved(file, overrides={"a.map": "text"})["a"]["map"] == "text"
    assert resolved(file, overrides={"a.map": "{z: 1}"})["a"]["map"] == {"p": 1, "q": 2, "z": 1}


def test_an_empty_section_of_an_overlay_changes_nothing(file: Path) -> None:
    overlay_file(file, "prod").write_text("a:\n  # b: 2\n")
    assert resolved(file, env="prod") == resolved(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("text", "text"), ("", None), ("true", True), ("[1, a]", [1, "a"]),
        ("{x: {y: 1}}", {"x": {"y": 1}}),
        ('"5"', "5"), ("'5'", "5"),
        # what would be YAML syntax is data
        ("a: b", "a: b"), ("# no comment", "# no comment"), ("*x", "*x"), ("@x", "@x"),
        ("[open", "[open"), ("- a", "- a"), ("${A}", "${A}"), ("$$", "$$"),
        ("a\nb: 1", "a\nb: 1"), ('"open', '"open'),
    ],
)  # fmt: skip
def test_text_of_a_variable_and_of_an_override(text: str, value: object, file: Path) -> None:
    assert resolved(file, {"DATAFLOW__WF__A__B": text, "A": "x"})["a"]["b"] == value
    assert resolved(file, {"A": "x"}, overrides={"a.b": text})["a"]["b"] == value


def test_keys_of_variables(file: Path) -> None:
    assert resolved(file, {"DATAFLOW__WF__A__KEY": "y"})["a"]["Key"] == "y"
    assert resolved(file, {"DATAFLOW__WF__NEW__Deep__kEy": "y"})["NEW"] == {"Deep": {"kEy": "y"}}
    environ = {"DATAFLOW__WF__A__MAP__P": "9", "DATAFLOW__WF__A": "{b: 7, map: {p: 8}}"}
    assert resolved(file, environ)["a"]["map"] == {"p": 9, "q": 2}
    assert read(file, {"DATAFLOW__WF__A____B": "1"}).problems


def test_python_values_are_taken_as_they_are(file: Path) -> None:
    value = {
        "s": "5",
        "t": "${A} true",
        "n": None,
        "b": True,
        "f": 1e-07,
        "i": 3,
        "l": ["1", 2.5, {"x": "null"}],
    }
    assert resolved(file, overrides={"a": value})["a"] == {**resolved(file)["a"], **value}


def test_a_variable_only_in_an_overridden_value_is_not_missed(file: Path) -> None:
    file.write_text("a:\n  b: ${UNSET}\n")
    assert resolved(file, overrides={"a.b": "1"}) == {"a": {"b": 1}}


def test_typing_after_interpolation(file: Path) -> None:
    file.write_text(
        'a: ${N:-1000}\nb: "${N:-1000}"\nc: ${L:-[1]}\nd: ${E}\ne: x${N:-1}\nf: |\n  ${N:-1}\n'
    )
    assert resolved(file, {"E": ""}) == {
        "a": 1000,
        "b": "1000",
        "c": "[1]",
        "d": None,
        "e": "x1",
        "f": "1\n",
    }


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_the_content_of_a_variable_is_never_structure(value: str) -> None:
    text = 'a: "${V}"\nb: {c: "<${V}>"}\n'
    file = Path("config.yaml")
    assert resolved(file, {"V": value}, texts={file: text}) == {
        "a": value,
        "b": {"c": f"<{value}>"},
    }


@pytest.mark.parametrize("env", ["../x", "a/b", "a.b", " "])
def test_an_environment_is_a_name(env: str, file: Path) -> None:
    with pytest.raises(UsageError):
        read(file, env=env)


trees = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda below: st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=10,
)
mappings = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


def merge(lower: Any, upper: Any) -> Any:
    if not isinstance(lower, dict) or not isinstance(upper, dict):
        return upper
    return {
        key: merge(lower[key], upper[key])
        if key in lower and key in upper
        else upper.get(key, lower.get(key))
        for key in {**lower, **upper}
    }


@given(mappings, mappings, mappings)
def test_merging(first: Any, second: Any, third: Any) -> None:
    def merged(*trees: Any) -> Any:
        layers = Layers(AnyKeys, {})
        for tree in trees:
            layers.add(override_node("", tree))
        return layers.values()

    assert merged(first, second, third) == merge(merge(first, second), third)
    assert merged(first, first) == first


API = """\
source:
  type: api
  api:
    url: https://example.org
    params: {mode: full}
    auth: {type: basic, username: me, password: hunter2-x}
    pagination: {type: offset, limit: 5, location: body}
processing:
  columns: {id: integer}
"""


def config(file: Path, environ: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """Return the merged values of a configuration of our own model."""
    layers = read_layers("wf", file, WorkflowConfig, environ or {}, **more)
    values = layers.values()
    assert layers.problems == []
    return values


def test_keys_keep_their_case(file: Path) -> None:
    file.write_text(API)
    environ = {
        "DATAFLOW__WF__PROCESSING__COLUMNS__MyCol": "string",
        "DATAFLOW__WF__PROCESSING__COLUMNS__ID": "string",
        "DATAFLOW__WF__SOURCE__API__PARAMS__apiKey": "x",
        "DATAFLOW__WF__source__Api__TIMEOUT": "3",
        "DATAFLOW__WF__OUTPUT__SCHEMA": "s",
        "DATAFLOW__WF__OUTPUT__SCHEMAA": "s",
    }
    values = config(file, environ, overrides={"source.api.params.pageSize": 7})
    assert values["processing"]["columns"] == {"id": "string", "MyCol": "string"}
    assert values["source"]["api"]["params"] == {"mode": "full", "apiKey": "x", "pageSize": 7}
    assert values["source"]["api"]["timeout"] == 3
    assert values["output"] == {"schema": "s", "schemaa": "s"}


@pytest.mark.parametrize("place", ["overlay", "environment", "set"])
def test_a_higher_layer_changes_the_type_of_a_section(file: Path, place: str) -> None:
    file.write_text(API)
    auth = "{type: bearer, token: hunter2-y}"
    pages = "{type: page_number, page_param: p}"
    environ, more = {}, {}
    if place == "overlay":
        overlay = f"source:\n  api:\n    auth: {auth}\n    pagination: {pages}\n"
        overlay_file(file, "prod").write_text(overlay)
        more = {"env": "prod"}
    elif place == "environment":
        environ = {
            "DATAFLOW__WF__SOURCE__API__AUTH": auth,
            "DATAFLOW__WF__SOURCE__API__PAGINATION": pages,
        }
    else:
        more = {"overrides": {"source.api.auth": auth, "source.api.pagination": pages}}
    api = config(file, environ, **more)["source"]["api"]
    assert api["auth"] == {"type": "bearer", "token": "hunter2-y"}
    # What both types have stays.
    assert api["pagination"] == {"type": "page_number", "page_param": "p", "location": "body"}


def test_a_type_of_the_same_name_keeps_the_keys_below(file: Path) -> None:
    file.write_text(API)
    overlay_file(file, "prod").write_text(
        "source:\n  type: mock\n  api:\n    auth: {username: you}\n"
    )
    source = config(file, env="prod")["source"]
    assert source["type"] == "mock"
    assert source["api"]["auth"] == {"type": "basic", "username": "you", "password": "hunter2-x"}


def test_pagination_can_be_switched_off(file: Path) -> None:
    file.write_text(API)
    overlay_file(file, "prod").write_text("source:\n  api:\n    pagination: null\n")
    values = config(file, env="prod")
    model = WorkflowConfig.model_validate(values)
    assert model.source.api is not None
    assert model.source.api.pagination.type == "none"


def test_sections_are_overridden_before_the_keys_in_them(file: Path) -> None:
    environ = {"DATAFLOW__WF__A__MAP__P": "9", "DATAFLOW__WF__A__MAP": "{p: 8, q: 8}"}
    for order in (environ, dict(reversed(environ.items()))):
        assert resolved(file, order)["a"]["map"] == {"p": 9, "q": 8}
    overrides = {"a.map.p": "9", "a.map": "{p: 8}"}
    assert resolved(file, overrides=overrides)["a"]["map"]["p"] == 8  # in the order given
