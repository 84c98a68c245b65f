"""The ``file`` source: encodings, compressions, a web server and an S3-compatible store."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.sources import read_source
from tests.integration.sources.conftest import Answer, Server

TEXT = "id,name\n1,Zoë\n2,\n"
ROWS = [{"id": "1", "name": "Zoë"}, {"id": "2", "name": None}]


@pytest.fixture
def rows(read: Any) -> Any:
    def rows(path: str, **settings: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = read("file", path=path, **settings).to_dicts()
        return found

    return rows


# Text


@pytest.mark.parametrize(
    "encoding",
    ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "utf-8", "UTF_8", "utf-8-sig"],
)
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.json"])
def test_encodings(rows: Any, tmp_path: Path, encoding: str, suffix: str, name: str) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    text = {
        "rows.csv": TEXT,
        "rows.jsonl": lines,
        "rows.json": json.dumps(ROWS, ensure_ascii=False),
    }[name]
    content = text.encode(encoding)
    compress = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    (tmp_path / (name + suffix)).write_bytes(compress(content))
    assert rows(name + suffix, options={"encoding": encoding}) == ROWS


def test_an_unknown_encoding_is_a_config_error() -> None:
    file = {"path": "x.csv", "options": {"encoding": "utf-9"}}
    with pytest.raises(ValueError, match="expected a text encoding such as utf-8, latin-1"):
        WorkflowConfig.model_validate({"source": {"type": "file", "file": file}})


def test_the_wrong_encoding(rows: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(TEXT.encode("latin-1"))
    with pytest.raises(DataflowError, match=r"rows\.csv: not readable as csv: ") as raised:
        rows("rows.csv")
    assert "source.file.options.encoding is utf-8" in str(raised.value.hint)
    (tmp_path / "rows.csv").write_bytes(b"\x00" + TEXT.encode("utf-16"))
    with pytest.raises(DataflowError, match=r"rows\.csv: not readable as csv: "):
        rows("rows.csv", options={"encoding": "utf-16"})


def test_values_are_text_and_stay_as_they_are(rows: Any, tmp_path: Path) -> None:
    values = [
        "007",
        "1e5",
        "true",
        "2024-01-01",
        "-0",
        "1.10",
        " x ",
        "9223372036854775808",
        "🎉",
        "nan",
        "NULL",
    ]
    (tmp_path / "rows.csv").write_text("v\n" + "\n".join(values) + "\n", encoding="utf-8")
    assert [row["v"] for row in rows("rows.csv")] == values


def test_quoting_across_batches(read: Any, tmp_path: Path) -> None:
    note = 'line 1\nline 2, with ""quotes""\r\n;'
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        file.write("id,note\n")
        file.writelines(f'{number},"{note}"\n' for number in range(30_000))
    frame = read("file", path="rows.csv", batch_size=1000)
    assert frame["id"].to_list() == [str(number) for number in range(30_000)]
    assert frame["note"].unique().to_list() == [note.replace('""', '"')]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_line_that_is_too_long_is_named(rows: Any, tmp_path: Path, suffix: str) -> None:
    lines = [
        'id,note\n1,"two\nlines"\n',
        *(f"{number},x\n" for number in range(70_000)),
        "2,a,b\n",
        "3,c\n",
    ]
    content = "".join(lines).encode()
    (tmp_path / f"rows.csv{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(
        DataflowError, match=r"rows\.csv.*: not readable as csv: line 70004 has 3 values for 2 col"
    ) as raised:
        rows(f"rows.csv{suffix}")
    assert "ragged_lines: truncate" in str(raised.value.hint)
    assert rows(f"rows.csv{suffix}", options={"ragged_lines": "truncate"})[-2:] == [
        {"id": "2", "note": "a"},
        {"id": "3", "note": "c"},
    ]


def test_a_ragged_line_below_skipped_ones(rows: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("made by\na machine\na;b\n1;2\n1;2;3\n")
    with pytest.raises(DataflowError, match="line 5 has 3 values for 2 columns"):
        rows("rows.csv", options={"delimiter": ";", "skip_rows": 2})


def test_names_of_columns(rows: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('a,,select,"x ""y"", z",\n1,2,3,4,5\n')
    assert rows("rows.csv") == [
        {"a": "1", "column_2": "2", "select": "3", 'x "y", z': "4", "column_5": "5"}
    ]


def test_a_name_that_is_there_twice(rows: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,name,id\n1,2,3\n")
    with pytest.raises(
        DataflowError, match=r"rows\.csv: the header names 'id' more than once"
    ) as raised:
        rows("rows.csv")
    assert "has_header: false, skip_rows: 1" in str(raised.value.hint)
    options = {"has_header": False, "skip_rows": 1}
    assert rows("rows.csv", options=options) == [
        {"column_1": "1", "column_2": "2", "column_3": "3"}
    ]


@pytest.mark.parametrize("name", ["rows.csv.zst", "rows.jsonl.zst", "rows.csv.gz"])
def test_a_compressed_file_that_is_cut_off(rows: Any, tmp_path: Path, name: str) -> None:
    text = (
        '{"a": 1}\n' * 90_000
        if "jsonl" in name
        else "a\n" + "".join(f"{n}\n" for n in range(90_000))
    )
    compress = gzip.compress if name.endswith("gz") else zstandard.compress
    (tmp_path / name).write_bytes(compress(text.encode())[:-20])
    with pytest.raises(DataflowError, match=re.escape(name)):
        rows(name)


# JSON and Parquet


def test_a_selector_with_a_filter(rows: Any, tmp_path: Path) -> None:
    document = {"data": [{"id": 1, "ok": True}, {"id": 2, "ok": False}, {"id": 3, "ok": True}]}
    (tmp_path / "rows.json").write_text(json.dumps(document))
    assert [row["id"] for row in rows("rows.json", records="$.data[?(@.ok == true)]")] == [1, 3]
    with pytest.raises(
        DataflowError, match=r"rows\.json: nothing at source\.file\.records '\$\.rows'; .*'data'"
    ):
        rows("rows.json", records="$.rows")


def test_parquet_keeps_its_types(read: Any, tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "i": [2**63 - 1, None],
            "d": ["1.10", None],
            "t": [["a"], None],
            "s": [{"x": 1}, None],
            "e": ["", None],
        }
    ).with_columns(pl.col("d").cast(pl.Decimal(20, 2)), u=pl.lit(2**64 - 1, pl.UInt64))
    frame.write_parquet(tmp_path / "rows.parquet")
    found = read("file", path="rows.parquet", batch_size=1)
    assert found.equals(frame)
    assert found.schema == frame.schema


def test_many_files_with_differing_columns(read: Any, tmp_path: Path) -> None:
    (tmp_path / "2024").mkdir()
    (tmp_path / "2024/a.csv").write_text("id,name\n1,x\n")
    (tmp_path / "2024/b.csv").write_text("name,id,new\ny,2,n\n")
    (tmp_path / "c.csv").write_text("id\n")
    (tmp_path / "d.jsonl").write_text('{"id": "3"}')
    assert read("file", path="**/*.csv").to_dicts() == [
        {"id": "1", "name": "x", "new": None},
        {"id": "2", "name": "y", "new": "n"},
    ]
    assert read("file", path="**/*.[cj]s*").height == 3


# URLs


def test_a_web_address(rows: Any, server: Server) -> None:
    answers = {
        "/rows.csv": TEXT.encode(),
        "/rows.csv.gz": gzip.compress(TEXT.encode()),
        "/export": TEXT.encode("latin-1"),
    }
    server.answer = lambda request: (
        Answer(answers[request.path]) if request.path in answers else Answer({}, status=404)
    )
    for path in ("/rows.csv", "/rows.csv.gz", "/rows.csv?v=1&x[]=a"):
        assert rows(server.url + path) == ROWS
    assert rows(f"{server.url}/export", format="csv", options={"encoding": "latin-1"}) == ROWS


@pytest.mark.parametrize(
    ("status", "message"), [(404, "nothing found at"), (403, "403"), (500, "500")]
)
def test_a_web_address_without_a_file(rows: Any, server: Server, status: int, message: str) -> None:
    server.answer = lambda _: Answer(b"no", status=status)
    with pytest.raises(DataflowError, match=message) as raised:
        rows(f"{server.url}/rows.csv?token=hidden-word")
    assert f"{server.url}/rows.csv?token=***" in raised.value.message
    assert "hidden-word" not in str(raised.value)
    assert raised.value.hint


def test_a_broken_file_at_a_web_address(rows: Any, server: Server) -> None:
    server.answer = lambda _: Answer(b"a,b\n1,2,3\n")
    with pytest.raises(
        DataflowError, match=rf"{server.url}/rows\.csv: not readable as csv: line 2 has 3 values"
    ):
        rows(f"{server.url}/rows.csv")


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of an S3-compatible server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(store: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", store)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-word")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    if not files.exists("bucket"):
        files.mkdir("bucket")
    return files


def test_an_object_store(rows: Any, read: Any, bucket: Any, tmp_path: Path, configure: Any) -> None:
    contents = {
        "in/a.csv": TEXT.encode(),
        "in/b.csv.gz": gzip.compress(b"id,new\n3,n\n"),
        "in/deep/c.csv": b"id\n4\n",
        "rows.jsonl": b'{"id": "1", "name": "Zo\xc3\xab"}\n{"id": "2"}\n',
    }
    for name, content in contents.items():
        bucket.pipe_file(f"bucket/{name}", content)
    assert rows("s3://bucket/in/a.csv") == ROWS
    assert rows("s3://bucket/rows.jsonl") == ROWS
    assert [row["id"] for row in rows("s3://bucket/in/*.csv*")] == ["1", "2", "3"]
    assert [row["id"] for row in rows("s3://bucket/**/*.csv")] == ["1", "2", "4"]
    pl.DataFrame({"id": [1, 2]}).write_parquet(tmp_path / "x.parquet")
    bucket.put(str(tmp_path / "x.parquet"), "bucket/x.parquet")
    assert read("file", path="s3://bucket/x.parquet")["id"].to_list() == [1, 2]
    for missing in ("s3://bucket/gone.csv", "s3://bucket/gone/*.csv", "s3://nowhere/a.csv"):
        with pytest.raises(DataflowError, match=rf"nothing found at {re.escape(missing)}"):
            list(read_source(configure({"type": "file", "file": {"path": missing}})))


def test_a_store_that_is_not_there(rows: Any, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(bucket).clear_instance_cache()
    with pytest.raises(DataflowError, match=r"s3://bucket/a\.csv: .*127\.0\.0\.1:1") as raised:
        rows("s3://bucket/a.csv")
    assert "credentials" in str(raised.value.hint)
