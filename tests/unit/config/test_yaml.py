from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from dataflow_runtime.config import tree as tree_module
from dataflow_runtime.config.core_schema import typed_scalar
from dataflow_runtime.config.problems import ConfigError, ConfigProblem
from dataflow_runtime.config.tree import Node, Source, read_source
from dataflow_runtime.config.yaml import parse_yaml

SAMPLE = textwrap.dedent(
    """\
    # Ümlaut first
    source: &all
      name: "Straße"
      empty:   # nothing
      list:
        - 1
        - {a: b, c: [d, 'e']}
    processing: {<<: *all, x: |-
        lines
      }
    other:
      <<: [{p: 1, q: 2}, {q: 3}]
      p: 0
    alias: *all
    tagged: !!str 5
    """
)


def tree(node: Node) -> object:
    if isinstance(node.value, dict):
        return {key: tree(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [tree(child) for child in node.value]
    return typed_scalar(node.value) if node.plain else node.value


def test_values_and_places() -> None:
    text = SAMPLE.replace("x: |-\n    lines\n  }", "x: y}")
    root = parse_yaml(Source("file", text))
    source = {"name": "Straße", "empty": None, "list": [1, {"a": "b", "c": ["d", "e"]}]}
    assert tree(root) == {
        "source": source,
        "processing": {"x": "y", **source},
        "other": {"p": 0, "q": 2},
        "alias": source,
        "tagged": "5",
    }
    sections = root.value
    assert isinstance(sections, dict)
    name = sections["source"].value["name"]  # type: ignore[index]
    assert (name.line, name.column, name.text) == (3, 9, '"Straße"')
    assert sections["alias"] is sections["source"]
    assert sections["other"].keys["q"].line == 10


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
    lambda below: (
        st.lists(below, max_size=4)
        | st.dictionaries(st.text("abcxyz_-. :#'\"", min_size=1), below, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abc", min_size=1), values, max_size=4))
def test_reads_what_ruamel_writes(data: dict[str, object]) -> None:
    from io import StringIO

    stream = StringIO()
    YAML(typ="safe", pure=True).dump(data, stream)
    try:
        expected = YAML(typ="safe", pure=True).load(stream.getvalue())
    except Exception:
        return  # ruamel does not read everything that it writes
    problems: Sequence[ConfigProblem] = ()
    try:
        assert tree(parse_yaml(Source("file", stream.getvalue()))) == expected
    except ConfigError as error:
        problems = error.problems
    # An empty key, or one that reads as null, is no key of a configuration.
    assert all("expected text as a key" in problem.message for problem in problems)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("true", True), ("False", False),
        ("yes", "yes"), ("on", "on"),
        ("1", 1), ("-1", -1), ("+1", 1), ("007", 7), ("0o17", 15), ("0x1F", 31),
        ("1_000", "1_000"), ("0b1", "0b1"),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("-.inf", float("-inf")),
        ("1.2.3", "1.2.3"), ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"), ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_core_schema(text: str, value: object) -> None:
    assert typed_scalar(text) == value
    assert type(typed_scalar(text)) is type(value)


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
MERGE_BOMB = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 40)
)


@pytest.mark.parametrize(
    "text",
    [BOMB, MERGE_BOMB, "a: " + "[" * 400_000, "a: " + "{b: " * 200_000, "[" + "a," * 450_000],
    ids=["aliases", "merges", "lists", "mappings", "items"],
)
def test_bombs_fail_fast_and_small(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    code = textwrap.dedent(
        f"""
        import resource, sys, time
        from pathlib import Path
        from dataflow_runtime.config.problems import ConfigError
        from dataflow_runtime.config.tree import read_source
        from dataflow_runtime.config.yaml import parse_yaml
        parse_yaml(read_source(Path({str(file.parent / "small.yaml")!r}), "file"))
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            parse_yaml(read_source(Path({str(file)!r}), "file"))
        except ConfigError as error:
            print(error.problems[0].message)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(time.process_time() - start, memory)
        """
    )
    (tmp_path / "small.yaml").write_text("a: 1\n")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    message, numbers = done.stdout.splitlines()
    seconds, kilobytes = map(float, numbers.split())
    assert "more than" in message
    assert seconds < 1
    assert kilobytes < 100_000


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            read_source(path, "file")
        return caught.value.problems[0].message

    assert "does not exist" in message(tmp_path / "none.yaml")
    assert "directory" in message(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    start = time.monotonic()
    assert "not a regular file" in message(tmp_path / "pipe")
    assert time.monotonic() - start < 5
    (tmp_path / "large.yaml").write_bytes(b"#" * (tree_module.MAX_BYTES + 1))
    assert "larger than" in message(tmp_path / "large.yaml")


def test_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    root = parse_yaml(read_source(tmp_path / "bom.yaml", "file"))
    assert (tree(root), root.column) == ({"a": 1}, 1)


@given(st.text())
def test_any_text_is_a_tree_or_an_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_yaml(Source("file", text))
