"""The ``file`` source: CSV, JSON lines, JSON documents, GeoJSON and Parquet; paths, globs, URLs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.config.sources import FileSource
from dataflow_runtime.errors import DataflowError, TransientError
from dataflow_runtime.pipeline.frames import from_records
from dataflow_runtime.pipeline.schema import conform, unify
from dataflow_runtime.pipeline.staging import scratch

__all__ = ["local_files", "read", "readable"]

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".geojson": "geojson",
    ".parquet": "parquet",
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


def read(config: WorkflowConfig) -> pl.LazyFrame | Iterator[pl.DataFrame]:
    """Return the rows of every file that ``source.file.path`` names, in the order of their names.

    Raises:
        DataflowError: No file matches, a file is empty or cannot be parsed; the message names it,
            and the line where the format has lines.
    """
    source = _source(config)
    files = local_files(config)
    if not files:
        return _read_batches(_files(source.path, config.root), source, config.processing.batch_size)
    frames = []
    for file in files:
        with _named(file, source):
            frames.append(_scan(Path(file), file, source))
            frames[-1].collect_schema()
    columns = unify(frame.collect_schema() for frame in frames)
    return pl.concat([conform(frame, columns) for frame in frames])


def local_files(config: WorkflowConfig) -> list[str]:
    """Return the files of the source where all of them can be scanned in place, else none."""
    if config.source.type != "file" or "://" in _source(config).path:
        return []
    source = _source(config)
    files = _files(source.path, config.root)
    formats = {_format(file, source) for file in files}
    in_place = formats <= {"csv", "parquet"} and _is_utf8(source.options.encoding)
    return files if in_place else []


@contextmanager
def readable(config: WorkflowConfig) -> Iterator[None]:
    """Turn an error in a query of scanned files into one that names the file and the line.

    An error that the files did not cause is raised as it is.
    """
    try:
        yield
    except (OSError, pl.exceptions.PolarsError):
        for file in local_files(config):
            for _ in _read_batches([file], _source(config), config.processing.batch_size):
                pass
        raise


def _source(config: WorkflowConfig) -> FileSource:
    assert config.source.file is not None
    return config.source.file


def _read_batches(files: list[str], source: FileSource, size: int) -> Iterator[pl.DataFrame]:
    for file in files:
        format_ = _format(file, source)
        with _named(file, source), _local(file) as local:
            if format_ in _READERS:
                yield from _READERS[format_](local, mask(file), source, size)
                continue
            with _utf8(local, source.options.encoding) as utf8, _line_named(utf8, file, source):
                rows = _scan(utf8, mask(file), source, format_)
                yield from rows.collect_batches(chunk_size=size, maintain_order=True)


# Finding files


def _files(path: str, root: Path) -> list[str]:
    if "://" in path:
        return _remote_files(path)
    pattern = Path(path).expanduser()
    pattern = pattern if pattern.is_absolute() else root / pattern
    if pattern.is_file():
        return [str(pattern)]
    anchor = Path(pattern.anchor)
    found = anchor.glob(str(pattern.relative_to(anchor)))
    files = sorted(str(file) for file in found if file.is_file())
    if not files:
        raise DataflowError(
            f"source.file.path: no file matches {pattern}", hint=f"relative paths start at {root}"
        )
    return files


def _remote_files(url: str) -> list[str]:
    # In a web address `?` begins the query.
    wildcards = "*" if url.startswith("http") else "*?["
    if not any(sign in url for sign in wildcards):
        return [url]
    with _at(url) as (filesystem, path):
        files = sorted(filesystem.glob(path))
        if not files:
            raise FileNotFoundError
        return [filesystem.unstrip_protocol(file) for file in files]


@contextmanager
def _local(file: str) -> Iterator[Path]:
    """Give the path of a file, or of a copy of a remote one, which exists in the context only."""
    if "://" not in file:
        yield Path(file)
        return
    with scratch() as folder:
        copy = folder / (Path(urlsplit(file).path).name or "file")
        with _at(file) as (filesystem, path):
            filesystem.get_file(path, str(copy))
        yield copy


@contextmanager
def _at(url: str) -> Iterator[tuple[Any, str]]:
    """Give the file system of a URL and the path in it; name the URL in its errors."""
    where = f"source.file.path: {url}"
    try:
        import fsspec

        yield fsspec.core.url_to_fs(url)
    except FileNotFoundError:
        message = mask(f"source.file.path: nothing found at {url}")
        raise DataflowError(message, hint="check the address") from None
    except ImportError as error:
        hint = 'for s3://: pip install "dataflow-runtime[s3]"'
        raise DataflowError(mask(f"{where}: {error}"), hint=hint) from None
    except Exception as error:  # each file system has errors of its own
        hint = "check the address, and the credentials for it"
        raise TransientError(mask(f"{where}: {error or type(error).__name__}"), hint=hint) from None


def _format(file: str, source: FileSource) -> str:
    if source.format:
        return source.format
    path = Path(urlsplit(file).path if "://" in file else file)
    suffixes = [suffix for suffix in path.suffixes if suffix not in _COMPRESSIONS]
    format_ = _SUFFIXES.get(suffixes[-1].lower()) if suffixes else None
    if format_ is None:
        raise DataflowError(
            mask(f"{file}: no format known for this ending"),
            hint=f"set source.file.format: {', '.join(dict.fromkeys(_SUFFIXES.values()))}",
        )
    return format_


@contextmanager
def _named(file: str, source: FileSource) -> Iterator[None]:
    """Turn an error of a reader into one that names the file and what to do."""
    shown, format_ = mask(file), _format(file, source)
    try:
        yield
    except pl.exceptions.NoDataError as error:
        raise DataflowError(f"{shown}: the file is empty", hint=_EMPTY) from error
    except (OSError, EOFError, UnicodeError, pl.exceptions.PolarsError, csv.Error) as error:
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        hint = "is the file complete, and source.file.format right?"
        if isinstance(error, UnicodeError) or "utf-8" in reason.lower():
            encoding = source.options.encoding
            hint = f"source.file.options.encoding is {encoding}; which one does the file have?"
        message = mask(f"{shown}: not readable as {format_}: {reason}")
        raise DataflowError(message, hint=hint) from error


# CSV and Parquet, which Polars scans


def _scan(file: Path, shown: str, source: FileSource, format_: str = "") -> pl.LazyFrame:
    if (format_ or _format(str(file), source)) == "parquet":
        return pl.scan_parquet(file, glob=False)
    options, names = source.options, _header(file, shown, source)
    # Every column is text until processing.columns declares its type: row 1,000 cannot change the
    # type of row 1.
    rows = pl.scan_csv(
        file,
        infer_schema=False,
        separator=_delimiter(file, source),
        quote_char=options.quote_char,
        has_header=options.has_header,
        null_values=options.null_values,
        skip_rows=options.skip_rows,
        truncate_ragged_lines=options.ragged_lines == "truncate",
        with_column_names=lambda _: names,
        glob=False,
    )
    # A line without a value is not a row.
    return rows.filter(pl.any_horizontal(pl.all().is_not_null()))


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "ascii", "us-ascii")


def _delimiter(file: Path, source: FileSource) -> str:
    tabs = "delimiter" not in source.options.model_fields_set and ".tsv" in file.suffixes
    return "\t" if tabs else source.options.delimiter


@contextmanager
def _utf8(local: Path, encoding: str) -> Iterator[Path]:
    """Give a file with the same text in UTF-8, which is all that Polars reads."""
    if _is_utf8(encoding):
        yield local
        return
    with scratch() as folder:
        copy = folder / ("utf-8.tsv" if ".tsv" in local.suffixes else "utf-8")
        with _open(local, encoding) as text, copy.open("w", encoding="utf-8", newline="") as target:
            shutil.copyfileobj(text, target, 1 << 20)
        yield copy


def _header(file: Path, shown: str, source: FileSource) -> list[str]:
    """Return the columns' names; one without a name is called by its position, ``column_1``."""
    names: list[str] = next(filter(None, _csv_rows(file, source)), [])
    if not source.options.has_header:
        names = [""] * len(names)
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise DataflowError(
            f"{shown}: the header names {', '.join(map(repr, twice))} more than once",
            hint="rename one, or name the columns by position (column_1, …) with "
            "source.file.options: "
            f"has_header: false, skip_rows: {source.options.skip_rows + 1}",
        )
    return [name or f"column_{position}" for position, name in enumerate(names, 1)]


@contextmanager
def _line_named(utf8: Path, file: str, source: FileSource) -> Iterator[None]:
    """Turn an error of Polars about a CSV file into one that names the line."""
    try:
        yield
    except pl.exceptions.ComputeError as error:
        reason = _malformed(utf8, source) if _format(file, source) == "csv" else None
        if reason is None:
            raise
        raise DataflowError(
            mask(f"{file}: not readable as csv: {reason}"),
            hint="correct the line, or set source.file.options: ragged_lines: truncate for lines "
            "that are too long, quote_char: null for a file that does not quote values",
        ) from error


def _malformed(utf8: Path, source: FileSource) -> str | None:
    """Return what is wrong with the first malformed line; Polars does not say which it is."""
    quote = source.options.quote_char
    width, line = 0, source.options.skip_rows + 1
    taken: list[str] = []  # the lines that a row is read from
    try:
        for row in _csv_rows(utf8, source, taken):
            width = width or len(row)
            if len(row) > width:
                return f"line {line} has {len(row)} values for {width} columns"
            if quote and "".join(taken).count(quote) % 2:
                return f"line {line} has a stray {quote}"
            line += len(taken)
            taken.clear()
    except csv.Error:
        return f"line {line} has a stray {quote}"
    return None


def _csv_rows(
    file: Path, source: FileSource, taken: list[str] | None = None
) -> Iterator[list[str]]:
    def lines() -> Iterator[str]:
        with _open(file, "utf-8") as text:
            for _ in range(source.options.skip_rows):
                text.readline()
            for line in text:
                if taken is not None:
                    taken.append(line)
                yield line

    quote = source.options.quote_char
    return csv.reader(
        lines(),
        delimiter=_delimiter(file, source),
        quotechar=quote,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        strict=taken is not None,
    )


# JSON, which is parsed here: a column of a document has one type, whatever its values


def _jsonl(local: Path, shown: str, source: FileSource, size: int) -> Iterator[pl.DataFrame]:
    records: list[dict[str, Any]] = []
    empty = True
    with _open(local, source.options.encoding) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            empty = False
            record = _parse_json(line, shown, first_line=number)
            if not isinstance(record, dict):
                raise DataflowError(
                    f"{shown}:{number}: expected an object, found {type(record).__name__}",
                    hint="each line of JSON lines is one row; a whole document is "
                    "source.file.format: json",
                )
            records.append(record)
            if len(records) == size:
                yield from_records(records)
                records = []
    if empty:
        raise DataflowError(f"{shown}: the file is empty", hint=_EMPTY)
    if records:
        yield from_records(records)


def _json(local: Path, shown: str, source: FileSource, size: int) -> Iterator[pl.DataFrame]:
    document = _load(local, shown, source)
    found = _select(document, source.records, shown) if source.records else [document]
    records: list[Any] = []
    for value in found:
        records += value if isinstance(value, list) else [value]
    for position, record in enumerate(records):
        if not isinstance(record, dict):
            raise DataflowError(
                f"{shown}: record {position} is no object but {type(record).__name__}",
                hint="source.file.records is the JSONPath of the list of rows",
            )
    if records:
        yield from from_records(records).iter_slices(size)


def _select(document: Any, path: str, shown: str) -> list[Any]:
    from jsonpath_ng.exceptions import JSONPathError
    from jsonpath_ng.ext import parse

    try:
        found = [match.value for match in parse(path).find(document)]
    except JSONPathError as error:
        message = f"source.file.records: {path!r} is not a JSONPath: {error}"
        raise DataflowError(message, hint="for example $.data[*]") from error
    if not found and not path.endswith("[*]"):
        keys = f"; the document has {', '.join(map(repr, list(document)[:10]))}" if document else ""
        raise DataflowError(
            f"{shown}: nothing at source.file.records {path!r}{keys}",
            hint="source.file.records is the JSONPath of the rows, for example $.data[*]",
        )
    return found


def _geojson(local: Path, shown: str, source: FileSource, size: int) -> Iterator[pl.DataFrame]:
    """Yield a row for each feature: ``id``, each property, ``geometry`` as JSON text."""
    document = _load(local, shown, source)
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list):
        raise DataflowError(f"{shown}: not a GeoJSON feature collection: no list 'features'")
    records = []
    for position, feature in enumerate(features):
        properties = feature.get("properties") or {} if isinstance(feature, dict) else None
        if not isinstance(properties, dict):
            raise DataflowError(f"{shown}: not a GeoJSON feature collection: feature {position}")
        records.append({"id": feature.get("id"), **properties, "geometry": feature.get("geometry")})
    if records:
        yield from from_records(records).iter_slices(size)


def _load(local: Path, shown: str, source: FileSource) -> Any:
    with _open(local, source.options.encoding) as stream:
        text = stream.read()
    if not text.strip():
        raise DataflowError(f"{shown}: the file is empty", hint=_EMPTY)
    return _parse_json(text, shown)


def _parse_json(text: str, shown: str, first_line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise DataflowError(
            f"{shown}:{line}:{error.colno}: not valid JSON: {error.msg}",
            hint="is the file cut off?",
        ) from error


def _open(local: Path, encoding: str) -> io.TextIOWrapper:
    # A byte order mark is not part of the first column's name.
    encoding = "utf-8-sig" if _is_utf8(encoding) else encoding
    raw = pa.input_stream(str(local), compression=_COMPRESSIONS.get(local.suffix.lower()))
    return io.TextIOWrapper(raw, encoding=encoding, newline="")


_EMPTY = "a file without rows has [] or a header; was the export finished?"
_READERS: dict[str, Callable[[Path, str, FileSource, int], Iterator[pl.DataFrame]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "geojson": _geojson,
}
