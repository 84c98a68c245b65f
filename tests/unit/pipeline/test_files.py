from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.sources import read_source

from_dicts = [{"id": "1", "name": "Zoë"}, {"id": "2", "name": None}]


@pytest.fixture
def read(configure: Any) -> Any:
    def read_file(path: str, batch_size: int = 50_000, **options: Any) -> pl.DataFrame:
        file = {"path": path, **options}
        config = configure({"type": "file", "file": file}, processing={"batch_size": batch_size})
        return pl.concat(list(read_source(config)), how="diagonal")

    return read_file


GEOJSON = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "id": "1", "properties": {"name": "Zoë"}, "geometry": None},
        {"type": "Feature", "id": "2", "properties": {"name": None}, "geometry": None},
    ],
}
TEXTS = {
    "rows.csv": "id,name\n1,Zoë\n2,\n",
    "rows.tsv": "id\tname\n1\tZoë\n2\t\n",
    "rows.jsonl": '{"id": "1", "name": "Zoë"}\n\n{"id": "2"}\n',
    "rows.ndjson": '{"id": "1", "name": "Zoë"}\n{"id": "2", "name": null}',
    "rows.json": json.dumps(from_dicts, ensure_ascii=False),
    "rows.geojson": json.dumps(GEOJSON),
    "ROWS.CSV": "id,name\n1,Zoë\n2,\n",
}


@pytest.mark.parametrize("file", TEXTS)
def test_each_format(read: Any, tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text(TEXTS[file], encoding="utf-8")
    assert read(file).select("id", "name").to_dicts() == from_dicts


@pytest.mark.parametrize("file", TEXTS)
def test_each_format_compressed(read: Any, tmp_path: Path, file: str) -> None:
    (tmp_path / f"{file}.gz").write_bytes(gzip.compress(TEXTS[file].encode()))
    assert read(f"{file}.gz").select("id", "name").to_dicts() == from_dicts


@pytest.mark.parametrize("file", TEXTS)
def test_each_format_with_a_byte_order_mark_and_windows_lines(
    read: Any, tmp_path: Path, file: str
) -> None:
    (tmp_path / file).write_bytes(b"\xef\xbb\xbf" + TEXTS[file].replace("\n", "\r\n").encode())
    assert read(file).select("id", "name").to_dicts() == from_dicts


@pytest.mark.parametrize("file", TEXTS)
def test_each_format_by_name_in_batches(read: Any, tmp_path: Path, file: str) -> None:
    (tmp_path / "rows.dat").write_text(TEXTS[file], encoding="utf-8")
    format_ = {"tsv": "csv", "ndjson": "jsonl"}.get(
        file.lower().split(".")[1], file.lower().split(".")[1]
    )
    options = {"delimiter": "\t"} if file == "rows.tsv" else {}
    frame = read("rows.dat", batch_size=1, format=format_, options=options)
    assert frame.select("id", "name").to_dicts() == from_dicts


def test_parquet(read: Any, tmp_path: Path) -> None:
    pl.DataFrame(from_dicts).write_parquet(tmp_path / "rows.parquet")
    assert read("rows.parquet").to_dicts() == from_dicts


def test_a_glob_reads_in_the_order_of_the_names(read: Any, tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.csv").write_text(f"id\n{name}\n")
    (tmp_path / "in" / "d.csv").mkdir()
    assert read("in/*.csv")["id"].to_list() == ["a", "b", "c"]
    assert read(f"{tmp_path}/**/[ab].csv")["id"].to_list() == ["a", "b"]


def test_a_name_with_the_signs_of_a_glob(read: Any, tmp_path: Path) -> None:
    (tmp_path / "rows[1].csv").write_text("id\n1\n")
    assert read("rows[1].csv")["id"].to_list() == ["1"]


def test_a_url(read: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(TEXTS["rows.jsonl"], encoding="utf-8")
    assert read(f"file://{tmp_path}/rows.jsonl").to_dicts() == from_dicts
    assert read(f"file://{tmp_path}/*.jsonl").to_dicts() == from_dicts


def test_csv_options(read: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("made by a machine\n1;'a;b'\n2;NA\n")
    options = {
        "delimiter": ";",
        "quote_char": "'",
        "has_header": False,
        "null_values": ["NA"],
        "skip_rows": 1,
    }
    assert read("rows.csv", options=options).rows() == [("1", "a;b"), ("2", None)]


def test_quoted_lines_and_quotes(read: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('id,name\n1,"two\nlines"\n2,"say ""hi"""\n')
    assert read("rows.csv")["name"].to_list() == ["two\nlines", 'say "hi"']


def test_csv_values_are_text_whatever_they_look_like(read: Any, tmp_path: Path) -> None:
    lines = [str(number) for number in range(1, 2001)]
    lines[999] = "not a number"
    (tmp_path / "rows.csv").write_text("n\n" + "\n".join(lines) + "\n")
    assert read("rows.csv")["n"].to_list() == lines


def test_the_rows_of_a_document(read: Any, tmp_path: Path) -> None:
    document = {"pages": [{"items": [{"a": 1}]}, {"items": [{"a": 2}, {"a": 3}]}]}
    (tmp_path / "rows.json").write_text(json.dumps(document))
    assert read("rows.json", records="$.pages[*].items")["a"].to_list() == [1, 2, 3]
    assert read("rows.json", records="$.pages[1].items[*]")["a"].to_list() == [2, 3]
    assert read("rows.json").shape == (1, 1)


def test_a_column_of_a_document_has_one_type_in_every_batch(read: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([{"a": 1}, {"a": "x"}]))
    assert read("rows.json", batch_size=1)["a"].to_list() == ["1", "x"]


def test_geojson_properties_become_columns(read: Any, tmp_path: Path) -> None:
    feature = {
        "id": "q1",
        "properties": {"mag": 4.5},
        "geometry": {"type": "Point", "coordinates": [1, 2, 3]},
    }
    (tmp_path / "q.geojson").write_text(json.dumps({"features": [feature, {"properties": None}]}))
    assert read("q.geojson").rows() == [
        ("q1", 4.5, '{"type": "Point", "coordinates": [1, 2, 3]}'),
        (None, None, None),
    ]


@pytest.mark.parametrize(
    "file", ["rows.csv", "rows.jsonl", "rows.json", "rows.geojson", "rows.csv.gz"]
)
def test_an_empty_file_is_an_error_that_names_it(read: Any, tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(gzip.compress(b"") if file.endswith(".gz") else b"")
    with pytest.raises(DataflowError) as raised:
        read(file)
    assert raised.value.message == f"{tmp_path / file}: the file is empty"
    assert raised.value.hint == "a file without rows has [] or a header; was the export finished?"


def test_an_empty_parquet_file_is_not_readable(read: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").touch()
    with pytest.raises(DataflowError) as raised:
        read("rows.parquet")
    start = f"{tmp_path / 'rows.parquet'}: not readable as parquet: "
    assert raised.value.message.startswith(start)
    assert raised.value.hint == "is the file complete, and source.file.format right?"


@pytest.mark.parametrize("text", ["id,name\n", "id,name"])
def test_a_header_alone_is_no_rows(configure: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    config = configure({"type": "file", "file": {"path": "rows.csv"}})
    assert sum(frame.height for frame in read_source(config)) == 0


@pytest.mark.parametrize(
    ("file", "text"), [("rows.json", "[]"), ("rows.geojson", '{"features": []}')]
)
def test_a_document_without_rows(configure: Any, tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    assert list(read_source(configure({"type": "file", "file": {"path": file}}))) == []


def test_a_missing_file(read: Any, tmp_path: Path) -> None:
    with pytest.raises(DataflowError) as raised:
        read("gone/*.csv")
    assert raised.value.message == f"source.file.path: no file matches {tmp_path}/gone/*.csv"
    assert raised.value.hint == f"relative paths start at {tmp_path}"
    with pytest.raises(DataflowError, match=r"nothing found at file:///gone.csv"):
        read("file:///gone.csv")
    with pytest.raises(DataflowError, match="no-such-protocol"):
        read("no-such-protocol://gone.csv")


def test_an_unknown_ending(read: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.xyz").touch()
    with pytest.raises(DataflowError, match=r"rows.xyz: no format known for this ending") as raised:
        read("rows.xyz")
    assert "csv, jsonl, json, geojson, parquet" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("q.geojson", json.dumps(GEOJSON, indent=1)[:150], r"q\.geojson:\d+:\d+: not valid JSON: "),
        ("rows.json", '[\n  {"a": 1},\n  {"a": 2', r"rows\.json:3:\d+: not valid JSON: "),
        ("rows.jsonl", '{"a": 1}\n\n{"a": 2}\n{"a":', r"rows\.jsonl:4:\d+: not valid JSON: "),
        ("rows.jsonl", '{"a": 1}\n[1]\n', r"rows\.jsonl:2: expected an object, found list"),
        ("rows.json", '{"a": [1, 2]}x', r"rows\.json:1:14: not valid JSON: Extra data"),
        ("rows.json", "[1, 2]", r"rows\.json: record 0 is no object but int"),
        ("q.geojson", "[]", r"q\.geojson: not a GeoJSON feature collection"),
        ("q.geojson", '{"features": [1]}', r"q\.geojson: not a GeoJSON feature collection"),
        ("q.geojson", '{"features": [{"properties": 1}]}', r"q\.geojson: "),
        ("rows.csv", "a,b\n1,2\n1,2,3\n", r"rows\.csv: not readable as csv: "),
        ("rows.csv", 'a,b\n1,"2\n', r"rows\.csv: not readable as csv: "),
        ("rows.parquet", "not parquet at all", r"rows\.parquet: not readable as parquet: "),
    ],
)
def test_a_broken_file_names_the_place(
    read: Any, tmp_path: Path, file: str, text: str, message: str
) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(DataflowError, match=message):
        read(file)


def test_a_line_with_too_few_values_has_nulls(read: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b,c\n1,2\n3,4,5\n")
    assert read("rows.csv").rows() == [("1", "2", None), ("3", "4", "5")]


@pytest.mark.parametrize("file", ["rows.csv", "rows.jsonl", "rows.json"])
def test_text_that_is_not_utf8(read: Any, tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(TEXTS[file].encode("latin-1"))
    with pytest.raises(DataflowError, match=rf"{file}: not readable as "):
        read(file)


@pytest.mark.parametrize("file", ["rows.csv.gz", "rows.jsonl.gz", "rows.json.gz"])
def test_a_compressed_file_that_is_cut_off(read: Any, tmp_path: Path, file: str) -> None:
    text = (
        "\n".join(TEXTS["rows.jsonl"] for _ in range(2000))
        if "jsonl" in file
        else "id,n\n" + "1,22\n" * 9000
    )
    (tmp_path / file).write_bytes(gzip.compress(text.encode())[:-30])
    with pytest.raises(DataflowError, match=rf"{file}"):
        read(file)


def test_a_bad_path_expression(read: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[]")
    with pytest.raises(DataflowError, match=r"source\.file\.records"):
        read("rows.json", records="$[[")


@pytest.mark.parametrize("text", ["a,b\n1,2\n\n\n", "a,b\r\n1,2\r\n\r\n", "a,b\n\n1,2\n,\n"])
def test_a_line_without_a_value_is_not_a_row(read: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    assert read("rows.csv").rows() == [("1", "2")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a,b\n1,"say ""hi"""\n2,"x\n', 3),
        ('a,b\n1,"two\nlines"\n2,3"4\n5,6\n7,8"9\n', 4),
        ('a,b\n1,2\n"3"x,4\n', 3),
    ],
)
def test_a_stray_quote_is_named_with_its_line(
    read: Any, tmp_path: Path, text: str, line: int
) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(DataflowError, match=f'line {line} has a stray "') as raised:
        read("rows.csv")
    assert "quote_char" in str(raised.value.hint)
