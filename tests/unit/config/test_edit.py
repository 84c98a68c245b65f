from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dataflow_runtime.config.edit import edit_file, plain_or_quoted, set_value
from dataflow_runtime.config.layers import read_layers
from dataflow_runtime.config.tree import MAX_BYTES
from dataflow_runtime.errors import DataflowError, UsageError

FILE = Path("config.yaml")
TEXT = """\
# top
source:   # where
  type: 'mock'
  name: "x"      # quoted
  mock: {rows: 5, seed: 1}  # flow
  empty:  # nothing
  none: {}
processing:
    # four spaces
    batch_size: 1000   # rows
    primary_key:
        - id
        # inside
        - day
    note: |
        lines
        more

    # trailing

output:
  url: ${URL}
tail: 1"""


def values(text: str) -> dict[str, Any]:
    texts = {FILE: text.replace("${", "$${")}
    return read_layers("wf", FILE, BaseModel, {}, texts=texts).values()


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("processing.batch_size", "7", "batch_size: 1000   # rows", "batch_size: 7   # rows"),
        ("source.type", "file", "type: 'mock'", "type: 'file'"),
        ("source.type", "it's", "type: 'mock'", "type: 'it''s'"),
        ("source.name", 'a "b" \\', 'name: "x"', 'name: "a \\"b\\" \\\\"'),
        ("source.name", "5", 'name: "x"', 'name: "5"'),
        ("source.mock.rows", "9", "{rows: 5,", "{rows: 9,"),
        ("source.mock.rows", "a, b", "{rows: 5,", '{rows: "a, b",'),
        ("source.mock.bad_ratio", "0.5", "seed: 1}", "seed: 1, bad_ratio: 0.5}"),
        ("source.mock.x.y", "1", "seed: 1}", "seed: 1, x: {y: 1}}"),
        ("source.none.a", "1", "none: {}", "none: {a: 1}"),
        ("source.empty", "1", "empty:  # nothing", "empty: 1  # nothing"),
        ("source.empty.a", "1", "empty:  # nothing\n", "empty:  # nothing\n    a: 1\n"),
        ("source.new", "1", "none: {}\n", "none: {}\n  new: 1\n"),
        ("source.new.deep", "a: b", "none: {}\n", 'none: {}\n  new:\n    deep: "a: b"\n'),
        ("processing.new", "[a, b]", "        more\n\n", "        more\n\n    new: [a, b]\n"),
        (
            "processing.primary_key",
            "[a]",
            "key:\n        - id\n        # inside\n        - day\n",
            "key: [a]\n",
        ),
        ("processing.note", "one", "note: |\n        lines\n        more\n", "note: one\n"),
        ("output.schema", "s", "url: ${URL}\n", "url: ${URL}\n  schema: s\n"),
        ("tail", "2", "tail: 1", "tail: 2"),
        ("new.section", "1", "tail: 1", "tail: 1\nnew:\n  section: 1\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_only_the_edited_value_changes(
    key: str, value: str, old: str, new: str, newline: str
) -> None:
    text, expected = (part.replace("\n", newline) for part in (TEXT, TEXT.replace(old, new)))
    assert old in TEXT
    edited = set_value(text, key, value, file=FILE)
    assert edited == expected or (
        key == "processing.new" and values(edited)["processing"]["new"] == ["a", "b"]
    )


def test_a_variable_is_not_overwritten_unless_asked() -> None:
    with pytest.raises(DataflowError, match=re.escape("${URL}")):
        set_value(TEXT, "output.url", "https://example.org", file=FILE)
    edited = set_value(TEXT, "output.url", "https://example.org", file=FILE, force=True)
    assert "url: https://example.org\n" in edited
    assert 'tail: "${URL}"' in set_value(TEXT, "tail", '"${URL}"', file=FILE)


def test_aliases() -> None:
    text = "a: &a {x: 1}\nb: *a\nc:\n  <<: *a\n  y: 2\n"
    with pytest.raises(UsageError, match="alias"):
        set_value(text, "b.x", "2", file=FILE)
    assert set_value(text, "b", "2", file=FILE) == text.replace("*a\nc", "2\nc")
    assert set_value(text, "c.x", "5", file=FILE) == text + "  x: 5\n"
    with pytest.raises(DataflowError, match="cannot be"):
        set_value(text, "a", "2", file=FILE)


def test_empty_and_unusual_documents() -> None:
    assert set_value("", "a.b", "1", file=FILE) == "a:\n  b: 1\n"
    assert set_value("# c", "a", "1", file=FILE) == "# c\na: 1\n"
    assert set_value("\ufeffa: 1\n", "a", "2", file=FILE) == "\ufeffa: 2\n"
    assert set_value("{a: 1}\n", "b", "2", file=FILE) == "{a: 1, b: 2}\n"
    assert set_value("---\na: 1\n...\n", "b", "2", file=FILE) == "---\na: 1\nb: 2\n...\n"
    assert set_value("a:\n- 1\nb: 2\n", "a", "[3]", file=FILE) == "a: [3]\nb: 2\n"
    assert set_value("a:\n  # note\n  b: 1\n", "a.b", "2", file=FILE) == "a:\n  # note\n  b: 2\n"
    assert (
        set_value("a:\n    b:\n    c: 1\n", "a.b.d", "2", file=FILE)
        == "a:\n    b:\n      d: 2\n    c: 1\n"
    )
    with pytest.raises(UsageError, match="list"):
        set_value("a: [1, 2]\n", "a.1", "x", file=FILE)
    for bad in ("", "a..b", ".a", "a.b.c"):
        with pytest.raises(UsageError):
            set_value("a: {b: 1}\n", bad, "1", file=FILE)


keys = st.sampled_from(["a", "b", "c", "d e", "true", "x-y"])
scalars = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["1", "true", "null", "- a", "a: b", "[1]", "x # y"]
)


@st.composite
def documents(draw: st.DrawFn, indent: int = 0, depth: int = 3) -> str:
    lines = []
    for key in draw(st.lists(keys, unique=True, min_size=1, max_size=3)):
        comment = draw(st.sampled_from(["", "  # note", " #"]))
        pad, name = " " * indent, plain_or_quoted(key)
        kind = draw(
            st.sampled_from(["scalar", "flow", "block", "empty", "list"] if depth else ["scalar"])
        )
        if kind == "scalar":
            text = draw(scalars)
            lines.append(f"{pad}{name}: {plain_or_quoted(text)}{comment}")
        elif kind == "flow":
            lines.append(f"{pad}{name}: {{a: 1, b: [2, 'x']}}{comment}")
        elif kind == "list":
            lines.append(f"{pad}{name}:{comment}\n{pad}  - 1\n{pad}  - two{comment}")
        elif kind == "empty":
            lines.append(f"{pad}{name}:{comment}")
        else:
            below = draw(documents(indent + draw(st.sampled_from([1, 2, 4])), depth - 1))
            lines.append(f"{pad}{name}:{comment}\n{below}")
        if draw(st.booleans()):
            lines.append(draw(st.sampled_from(["", "# own line", f"{pad}# own line"])))
    return "\n".join(lines)


def paths(data: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(data, dict):
        return [path]
    return [path, *(found for key, child in data.items() for found in paths(child, (*path, key)))]


def replaced(data: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    below = data if isinstance(data, dict) else {}
    return {**below, path[0]: replaced(below.get(path[0]), path[1:], value)}


@given(documents(), scalars, st.data())
def test_set_then_read(text: str, value: str, data: st.DataObject) -> None:
    before = values(text)
    found = [path for path in paths(before) if path and "." not in "".join(path)]
    path = data.draw(st.sampled_from(found))
    if data.draw(st.booleans()):
        path = (*path, "new")
    try:
        edited = set_value(text, ".".join(path), plain_or_quoted(value), file=FILE, force=True)
    except UsageError:
        # Only a key below a text or a list cannot be set.
        assert path[-1] == "new"
        section = before
        for key in path[:-1]:
            section = section[key]
        assert section is not None
        assert not isinstance(section, dict)
        return
    assert read_back(edited, path) == value
    assert replaced(values(edited), path, None) == replaced(before, path, None)
    kept = [line for line in text.splitlines() if "# own" in line]
    replaced_block = len(path) > 1 or isinstance(before[path[0]], dict | list)
    if path[-1] == "new" or not replaced_block:
        assert [line for line in edited.splitlines() if "# own" in line] == kept


def read_back(text: str, path: tuple[str, ...]) -> Any:
    """Return a value as a workflow gets it: interpolated, in an environment without variables."""
    layers = read_layers("wf", FILE, BaseModel, {}, texts={FILE: text})
    found: Any = layers.values()
    for key in path:
        found = found[key]
    return found


@pytest.mark.parametrize(
    "value", ["$$x", "$$", "a$$$b", "$${x}", "$x", "costs $5", "'$$x'", "[$$x]"]
)
@pytest.mark.parametrize("text", ["a: 1\n", "a: 'x'\n", 'a: "x"\n', "{a: 1}\n"])
def test_dollars_are_read_back(value: str, text: str) -> None:
    edited = set_value(text, "a", value, file=FILE, force=True)
    expected = {"'$$x'": "$$x", "[$$x]": ["$$x"]}.get(value, value)
    assert read_back(edited, ("a",)) == expected


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    real = tmp_path / "real.yaml"
    real.write_text("a: 1\n")
    real.chmod(0o640)
    link = tmp_path / "config.yaml"
    link.symlink_to(real)
    assert edit_file(link, lambda text: text + "b: 2\n")
    assert link.is_symlink()
    assert real.read_text() == "a: 1\nb: 2\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert not edit_file(link, lambda text: text)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "real.yaml"]


def test_a_failed_edit_leaves_the_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("a: 1\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(DataflowError, match="cannot be written: disk full"):
            edit_file(file, lambda _: "b: 2\n")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        ("config.yaml", "a: 1\n")
    ]


def test_eight_processes_lose_no_edit(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("# shared\ncounts:\n  start: 0  # first\n")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from dataflow_runtime.config.edit import edit_file, set_value\n"
        "file, worker = Path(sys.argv[1]), sys.argv[2]\n"
        "for i in range(10):\n"
        "    key = f'counts.w{worker}_{i}'\n"
        "    edit_file(file, lambda text: set_value(text, key, str(i), file=file))\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(file), str(worker)])
        for worker in range(8)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0] * 8
    counts = values(file.read_text())["counts"]
    assert counts == {"start": 0, **{f"w{worker}_{i}": i for worker in range(8) for i in range(10)}}
    assert file.read_text().startswith("# shared\ncounts:\n  start: 0  # first\n")


def test_owner_permissions_and_attributes_stay(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("a: 1\n")
    file.chmod(0o604)
    if os.getuid() == 0:
        os.chown(file, 1234, 2345)
    with contextlib.suppress(OSError):  # a file system without attributes
        os.setxattr(file, "user.note", b"kept")
    before, attributes = file.stat(), os.listxattr(file)
    os.utime(file, (0, 0))
    edit_file(file, lambda text: text + "b: 2\n")
    after = file.stat()
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert after.st_mode == before.st_mode
    assert after.st_mtime > 0
    assert os.listxattr(file) == attributes


def test_what_cannot_be_edited_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(file: Path) -> str:
        with pytest.raises(DataflowError) as caught:
            edit_file(file, lambda text: text + "b: 2\n")
        return str(caught.value)

    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert "symbolic links" in message(loop)
    assert "No such file" in message(tmp_path / "missing" / "config.yaml")
    (tmp_path / "folder").mkdir()
    assert "folder" in message(tmp_path / "folder")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # As in a folder that is read-only, which root can write to all the same.
    file = tmp_path / "config.yaml"
    file.write_text("a: 1\n")
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    assert "config.yaml: cannot be written: Permission denied" in message(file)
    assert file.read_text() == "a: 1\n"


def test_a_file_does_not_outgrow_what_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("a: 1\n")
    with pytest.raises(DataflowError, match="larger than"):
        edit_file(file, lambda text: text + "# " + "x" * MAX_BYTES)
    assert file.read_text() == "a: 1\n"
