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
from tempfile import TemporaryDirectory
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
_UTF8 = ("utf-8", "utf8", "utf-8-sig", "ascii", "us-ascii")
_EMPTY = "a file without rows has [] or a header; was the export finished?"
_RECORDS = "source.file.records is the JSONPath of the rows, for example $.data[*]"


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
    frames: list[pl.LazyFrame] = []
    schemas: list[pl.Schema] = []
    for file in files:
        with _named(file, source):
            frame = _SCANNERS[_format(file, source)](Path(file), file, source)
            schemas.append(frame.collect_schema())
            frames.append(frame)
    columns = unify(schemas)
    return pl.concat([conform(frame, columns) for frame in frames])


def local_files(config: WorkflowConfig) -> list[str]:
    """Return the files of the source where all of them can be scanned in place, else none."""
    if config.source.type != "file" or "://" in _source(config).path:
        return []
    source = _source(config)
    files = _files(source.path, config.root)
    formats = {_format(file, source) for file in files}
    in_place = formats <= set(_SCANNERS) and source.options.encoding.lower() in _UTF8
    return files if in_place else []


@contextmanager
def readable(config: WorkflowConfig) -> Iterator[None]:
    """Turn an error in a query of scanned files into one that names the file and the line.

    An error that the files are not the cause of is raised as it is.
    """
    try:
        yield
    except (OSError, pl.exceptions.PolarsError):
        source = _source(config)
        for file in local_files(config):
            for _ in _read_batches([file], source, config.processing.batch_size):
                pass
        raise


@contextmanager
def _named(file: str, source: FileSource) -> Iterator[None]:
    """Turn an error of a reader into one that names the file and what to do."""
    shown, format_ = mask(file), _format(file, source)
    try:
        yield
    except pl.exceptions.NoDataError as error:
        raise DataflowError(
            f"{shown}: the file is empty", hint="a CSV file has a header line at least"
        ) from error
    except (OSError, EOFError, UnicodeError, pl.exceptions.PolarsError) as error:
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        hint = "is the file complete, and source.file.format right?"
        if isinstance(error, UnicodeError) or "utf-8" in reason.lower():
            encoding = source.options.encoding
            hint = f"source.file.options.encoding is {encoding}; which one does the file have?"
        raise DataflowError(
            mask(f"{shown}: not readable as {format_}: {reason}"), hint=hint
        ) from error


def _source(config: WorkflowConfig) -> FileSource:
    assert config.source.file is not None
    return config.source.file


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
    with _clear_errors(url):
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(url)
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
    with TemporaryDirectory(prefix="dataflow-") as folder:
        # Every format, compression and encoding is read in one way, wherever the file is.
        copy = Path(folder, Path(urlsplit(file).path).name or "file")
        with _clear_errors(file):
            import fsspec

            filesystem, path = fsspec.core.url_to_fs(file)
            filesystem.get_file(path, str(copy))
        yield copy


@contextmanager
def _clear_errors(url: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        message = mask(f"source.file.path: nothing found at {url}")
        raise DataflowError(message, hint="check the address") from None
    except ImportError as error:
        message = mask(f"source.file.path: {url}: {error}")
        raise DataflowError(message, hint='for s3://: pip install "dataflow-runtime[s3]"') from None
    except Exception as error:  # each file system has errors of its own
        message = mask(f"source.file.path: {url}: {error or type(error).__name__}")
        hint = "check the address, and the credentials for it"
        raise TransientError(message, hint=hint) from None


def _format(file: str, source: FileSource) -> str:
    if source.format:
        return source.format
    path = Path(urlsplit(file).path if "://" in file else file)
    suffixes = [suffix for suffix in path.suffixes if suffix not in _COMPRESSIONS]
    format_ = _SUFFIXES.get(suffixes[-1].lower()) if suffixes else None
    if format_ is None:
        raise DataflowError(
            mask(f"{file}: no format known for this ending"),
            hint=f"set source.file.format: {', '.join(_READERS)}",
        )
    return format_


def _read_batches(files: list[str], source: FileSource, batch_size: int) -> Iterator[pl.DataFrame]:
    for file in files:
        with _named(file, source), _local(file) as local:
            yield from _READERS[_format(file, source)](local, mask(file), source, batch_size)


def _scan_csv(file: Path, shown: str, source: FileSource) -> pl.LazyFrame:
    options = source.options
    names = _header(file, shown, source)
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


def _scan_parquet(file: Path, shown: str, source: FileSource) -> pl.LazyFrame:
    return pl.scan_parquet(file, glob=False)


def _csv(local: Path, shown: str, source: FileSource, batch_size: int) -> Iterator[pl.DataFrame]:
    with _utf8(local, source.options.encoding) as utf8, _line_named(utf8, shown, source):
        rows = _scan_csv(utf8, shown, source)
        yield from rows.collect_batches(chunk_size=batch_size, maintain_order=True)


def _parquet(
    local: Path, shown: str, source: FileSource, batch_size: int
) -> Iterator[pl.DataFrame]:
    rows = _scan_parquet(local, shown, source)
    yield from rows.collect_batches(chunk_size=batch_size, maintain_order=True)


def _delimiter(file: Path, source: FileSource) -> str:
    tabs = "delimiter" not in source.options.model_fields_set and ".tsv" in file.suffixes
    return "\t" if tabs else source.options.delimiter


@contextmanager
def _utf8(local: Path, encoding: str) -> Iterator[Path]:
    """Give a file with the same text in UTF-8, which is all that Polars reads."""
    if encoding.lower() in _UTF8:
        yield local
        return
    with TemporaryDirectory(prefix="dataflow-") as folder:
        copy = Path(folder, "utf-8" + ".tsv" * (".tsv" in local.suffixes))
        with _open(local, encoding) as text, copy.open("w", encoding="utf-8", newline="") as target:
            shutil.copyfileobj(text, target, 1 << 20)
        yield copy


@contextmanager
def _line_named(utf8: Path, shown: str, source: FileSource) -> Iterator[None]:
    """Turn an error of Polars about a CSV file into one that names the line."""
    try:
        yield
    except pl.exceptions.ComputeError as error:
        found = _malformed(utf8, source)
        if found is None:
            raise
        reason, hint = found
        raise DataflowError(f"{shown}: not readable as csv: {reason}", hint=hint) from error


def _malformed(utf8: Path, source: FileSource) -> tuple[str, str] | None:
    """Return what is wrong with the first malformed line, and a hint; Polars does not say which."""
    width, raw = 0, _Recorded(utf8, source)
    for row in csv.reader(raw, **_dialect(utf8, source)):
        width = width or len(row)
        if len(row) > width:
            return (
                f"line {raw.first} has {len(row)} values for {width} columns",
                "correct the line, or set source.file.options.ragged_lines: truncate to cut "
                "such lines",
            )
        quote = source.options.quote_char
        if quote and "".join(raw.taken).count(quote) % 2:
            return (
                f"line {raw.first} has a stray {quote}",
                "correct the line, or set source.file.options.quote_char: null if the file does "
                "not quote values",
            )
        raw.next_row()
    return None


class _Recorded:
    """The lines of a file, and those that the row at hand was read from."""

    def __init__(self, utf8: Path, source: FileSource) -> None:
        self._lines = _lines(utf8, source)
        self.first = source.options.skip_rows + 1
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.taken.append(next(self._lines))
        return self.taken[-1]

    def next_row(self) -> None:
        self.first += len(self.taken)
        self.taken = []


def _header(file: Path, shown: str, source: FileSource) -> list[str]:
    """Return the columns' names; one without a name is called by its position, ``column_1``."""
    try:
        rows = csv.reader(_lines(file, source), **_dialect(file, source))
        names: list[str] = next(filter(None, rows), [])
    except csv.Error as error:  # for example, a value longer than Python's reader takes
        raise OSError(str(error)) from error
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


def _lines(file: Path, source: FileSource) -> Iterator[str]:
    with _open(file, "utf-8") as lines:
        for _ in range(source.options.skip_rows):
            lines.readline()
        yield from lines


def _dialect(file: Path, source: FileSource) -> dict[str, Any]:
    quote = source.options.quote_char
    return {
        "delimiter": _delimiter(file, source),
        "quotechar": quote,
        "quoting": csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
    }


def _jsonl(local: Path, shown: str, source: FileSource, batch_size: int) -> Iterator[pl.DataFrame]:
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
                    hint="each line of JSON lines is one row; a whole document is source.file.format: json",
                )
            records.append(record)
            if len(records) >= batch_size:
                yield from_records(records)
                records = []
    if empty:
        raise DataflowError(f"{shown}: the file is empty", hint=_EMPTY)
    if records:
        yield from_records(records)


def _json(local: Path, shown: str, source: FileSource, batch_size: int) -> Iterator[pl.DataFrame]:
    document = _load(local, shown, source)
    found = [document]
    if source.records:
        from jsonpath_ng.exceptions import JSONPathError
        from jsonpath_ng.ext import parse

        try:
            found = [match.value for match in parse(source.records).find(document)]
        except JSONPathError as error:
            raise DataflowError(
                f"source.file.records: {source.records!r} is not a JSONPath: {error}",
                hint="for example $.data[*]",
            ) from error
        if not found and not source.records.endswith("[*]"):
            keys = (
                f"; the document has {', '.join(map(repr, list(document)[:10]))}"
                if document
                else ""
            )
            raise DataflowError(
                f"{shown}: nothing at source.file.records {source.records!r}{keys}", hint=_RECORDS
            )
    yield from _batches(
        [row for value in found for row in (value if isinstance(value, list) else [value])],
        shown,
        batch_size,
    )


def _geojson(
    local: Path, shown: str, source: FileSource, batch_size: int
) -> Iterator[pl.DataFrame]:
    """Yield a row for each feature: ``id``, each property as a column, ``geometry`` as JSON text."""
    document = _load(local, shown, source)
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
        raise DataflowError(
            f"{shown}: not a GeoJSON feature collection: no list of objects under 'features'"
        )
    for position, feature in enumerate(features):
        if not isinstance(feature.get("properties"), dict | None):
            raise DataflowError(
                f"{shown}: not a GeoJSON feature collection: 'properties' of feature {position}"
            )
    yield from _batches(
        [
            {
                "id": feature.get("id"),
                **(feature.get("properties") or {}),
                "geometry": feature.get("geometry"),
            }
            for feature in features
        ],
        shown,
        batch_size,
    )


def _batches(records: list[Any], shown: str, batch_size: int) -> Iterator[pl.DataFrame]:
    for position, record in enumerate(records):
        if not isinstance(record, dict):
            raise DataflowError(
                f"{shown}: record {position} is no object but {type(record).__name__}",
                hint="source.file.records is the JSONPath of the list of rows",
            )
    if records:
        # One frame first: the type of a column is that of all its values, whatever the size of a batch.
        yield from from_records(records).iter_slices(batch_size)


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
    # A byte order mark is no part of the first column's name.
    encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    raw = pa.input_stream(str(local), compression=_COMPRESSIONS.get(local.suffix.lower()))
    return io.TextIOWrapper(raw, encoding=encoding, newline="")


_SCANNERS: dict[str, Callable[[Path, str, FileSource], pl.LazyFrame]] = {
    "csv": _scan_csv,
    "parquet": _scan_parquet,
}
_READERS: dict[str, Callable[[Path, str, FileSource, int], Iterator[pl.DataFrame]]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "json": _json,
    "geojson": _geojson,
    "parquet": _parquet,
}
