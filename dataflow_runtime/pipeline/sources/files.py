"""The ``file`` source: CSV, JSON lines, JSON documents, GeoJSON and Parquet; paths, globs and URLs."""

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
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.config.secrets import mask
from dataflow_runtime.errors import DataflowError, TransientError
from dataflow_runtime.pipeline.frames import from_records

if TYPE_CHECKING:
    from dataflow_runtime.config.models import FileSource

__all__ = ["read"]

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


def read(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield the rows of every file that ``source.file.path`` names, in the order of their names.

    Raises:
        DataflowError: No file matches, a file is empty or cannot be parsed; the message names it, and the line where
            the format has lines.
    """
    source = config.source.file
    assert source is not None
    for file in _files(source.path, config.root):
        format_ = source.format or _format(file)
        shown = mask(file)
        try:
            with _local(file) as local:
                yield from _READERS[format_](local, shown, source, config.processing.batch_size)
        except pl.exceptions.NoDataError as error:
            raise DataflowError(
                f"{shown}: the file is empty", hint="a CSV file has a header line at least"
            ) from error
        except (OSError, EOFError, UnicodeError, pl.exceptions.PolarsError) as error:
            reason = (
                str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            )
            text = isinstance(error, UnicodeError) or "utf-8" in reason.lower()
            raise DataflowError(
                mask(f"{shown}: not readable as {format_}: {reason}"),
                hint=f"source.file.options.encoding is {source.options.encoding}; which one does the file have?"
                if text
                else "is the file complete, and source.file.format right?",
            ) from error


def _files(path: str, root: Path) -> list[str]:
    if "://" in path:
        return _remote_files(path)
    pattern = Path(path).expanduser()
    pattern = pattern if pattern.is_absolute() else root / pattern
    if pattern.is_file():
        return [str(pattern)]
    anchor = Path(pattern.anchor)
    files = sorted(
        str(file) for file in anchor.glob(str(pattern.relative_to(anchor))) if file.is_file()
    )
    if not files:
        raise DataflowError(
            f"source.file.path: no file matches {pattern}", hint=f"relative paths start at {root}"
        )
    return files


def _remote_files(url: str) -> list[str]:
    # In a web address `?` begins the query.
    if not any(sign in url for sign in ("*" if url.startswith("http") else "*?[")):
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
    """Yield the path of the file, a remote one's of its copy on disk, which is there as long as the context."""
    if "://" not in file:
        yield Path(file)
        return
    with TemporaryDirectory(prefix="dataflow-") as folder:
        # Each format, compression and encoding is read in one way, wherever the file lies; memory stays flat.
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
        raise DataflowError(
            mask(f"source.file.path: nothing found at {url}"), hint="check the address"
        ) from None
    except ImportError as error:
        raise DataflowError(
            mask(f"source.file.path: {url}: {error}"),
            hint='for s3://: pip install "dataflow-runtime[s3]"',
        ) from None
    except Exception as error:  # each file system has errors of its own
        reason = str(error) or type(error).__name__
        raise TransientError(
            mask(f"source.file.path: {url}: {reason}"),
            hint="check the address, and the credentials for it",
        ) from None


def _format(file: str) -> str:
    path = Path(urlsplit(file).path if "://" in file else file)
    suffixes = [suffix for suffix in path.suffixes if suffix not in _COMPRESSIONS]
    format_ = _SUFFIXES.get(suffixes[-1].lower()) if suffixes else None
    if format_ is None:
        raise DataflowError(
            mask(f"{file}: no format known for this ending"),
            hint=f"set source.file.format: {', '.join(_READERS)}",
        )
    return format_


def _csv(local: Path, shown: str, source: FileSource, batch_size: int) -> Iterator[pl.DataFrame]:
    options = source.options
    tabs = "delimiter" not in options.model_fields_set and ".tsv" in local.suffixes
    delimiter = "\t" if tabs else options.delimiter
    with _utf8(local, options.encoding) as utf8:
        names = _header(utf8, shown, source, delimiter)
        # Every column is text until processing.columns says what it is: row 1,000 cannot change the type of row 1.
        rows = pl.scan_csv(
            utf8,
            infer_schema=False,
            separator=delimiter,
            quote_char=options.quote_char,
            has_header=options.has_header,
            null_values=options.null_values,
            skip_rows=options.skip_rows,
            truncate_ragged_lines=options.ragged_lines == "truncate",
            with_column_names=lambda _: names,
            glob=False,
        )
        try:
            yield from rows.collect_batches(chunk_size=batch_size, maintain_order=True)
        except pl.exceptions.ComputeError as error:
            if ragged := _ragged_line(utf8, source, delimiter):
                raise DataflowError(
                    f"{shown}: not readable as csv: {ragged}",
                    hint="mend the line, or set source.file.options.ragged_lines: truncate to cut such lines",
                ) from error
            raise


@contextmanager
def _utf8(local: Path, encoding: str) -> Iterator[Path]:
    """Yield a file with the same text in UTF-8, which is all that Polars reads."""
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "ascii", "us-ascii"):
        yield local
        return
    with TemporaryDirectory(prefix="dataflow-") as folder:
        copy = Path(folder, "utf-8.csv")
        with _open(local, encoding) as text, copy.open("w", encoding="utf-8", newline="") as target:
            shutil.copyfileobj(text, target, 1 << 20)
        yield copy


def _header(utf8: Path, shown: str, source: FileSource, delimiter: str) -> list[str]:
    """Return the columns' names; one without a name is called by its position, ``column_1`` the first."""
    with _parsed(utf8, source, delimiter) as rows:
        names: list[str] = next(filter(None, rows), [])
    if not source.options.has_header:
        names = [""] * len(names)
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise DataflowError(
            f"{shown}: the header names {', '.join(map(repr, twice))} more than once",
            hint="rename one, or name the columns by position (column_1, …) with source.file.options: "
            f"has_header: false, skip_rows: {source.options.skip_rows + 1}",
        )
    return [name or f"column_{position}" for position, name in enumerate(names, 1)]


def _ragged_line(utf8: Path, source: FileSource, delimiter: str) -> str | None:
    """Return where the first line with more values than columns is; Polars says only that there is one."""
    width, line = 0, source.options.skip_rows + 1
    with _parsed(utf8, source, delimiter) as rows:
        for row in rows:
            width = width or len(row)
            if len(row) > width:
                return f"line {line} has {len(row)} values for {width} columns"
            line = source.options.skip_rows + rows.line_num + 1
    return None


@contextmanager
def _parsed(utf8: Path, source: FileSource, delimiter: str) -> Iterator[Any]:
    quote = source.options.quote_char
    quoting: Any = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    with _open(utf8, "utf-8") as lines:
        for _ in range(source.options.skip_rows):
            lines.readline()
        try:
            yield csv.reader(lines, delimiter=delimiter, quotechar=quote, quoting=quoting)
        except csv.Error as error:  # a value longer than Python's reader takes, for example
            raise OSError(str(error)) from error


def _parquet(
    local: Path, shown: str, source: FileSource, batch_size: int
) -> Iterator[pl.DataFrame]:
    yield from pl.scan_parquet(local, glob=False).collect_batches(
        chunk_size=batch_size, maintain_order=True
    )


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


_EMPTY = "a file without rows has [] or a header; was the export finished?"
_RECORDS = "source.file.records is the JSONPath of the rows, for example $.data[*]"
_READERS: dict[str, Callable[[Path, str, FileSource, int], Iterator[pl.DataFrame]]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "json": _json,
    "geojson": _geojson,
    "parquet": _parquet,
}
