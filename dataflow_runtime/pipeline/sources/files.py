"""The ``file`` source: CSV, JSON lines, JSON documents, GeoJSON and Parquet; paths, globs and URLs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import polars as pl

from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.frames import from_records

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
        try:
            yield from _READERS[format_](file, config)
        except pl.exceptions.NoDataError as error:
            raise DataflowError(f"{file}: the file is empty", hint="a CSV file has a header line at least") from error
        except (OSError, EOFError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise DataflowError(f"{file}: not readable as {format_}: {reason}") from error


def _files(path: str, root: Path) -> list[str]:
    if "://" in path:
        return _remote_files(path)
    pattern = Path(path).expanduser()
    pattern = pattern if pattern.is_absolute() else root / pattern
    if pattern.is_file():
        return [str(pattern)]
    anchor = Path(pattern.anchor)
    files = sorted(str(file) for file in anchor.glob(str(pattern.relative_to(anchor))) if file.is_file())
    if not files:
        raise DataflowError(f"source.file.path: no file matches {pattern}", hint=f"relative paths start at {root}")
    return files


def _remote_files(url: str) -> list[str]:
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        files = sorted(filesystem.glob(path)) if any(sign in path for sign in "*?[") else [path]
        if not files or not all(filesystem.exists(file) for file in files):
            raise DataflowError(f"source.file.path: nothing found at {url}")
        return [filesystem.unstrip_protocol(file) for file in files]
    except (ImportError, ValueError, OSError) as error:
        raise DataflowError(f"source.file.path: {url}: {error}") from error


def _format(file: str) -> str:
    suffixes = [suffix for suffix in Path(file).suffixes if suffix not in (".gz", ".zst")]
    format_ = _SUFFIXES.get(suffixes[-1].lower()) if suffixes else None
    if format_ is None:
        raise DataflowError(
            f"{file}: no format known for this ending", hint=f"set source.file.format: {', '.join(_READERS)}"
        )
    return format_


def _csv(file: str, config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    source = config.source.file
    assert source is not None
    options = source.options
    # Every column is text until processing.columns says what it is: row 1,000 cannot change the type of row 1.
    rows = pl.scan_csv(
        file,
        infer_schema=False,
        separator="\t"
        if "delimiter" not in options.model_fields_set and ".tsv" in Path(file).suffixes
        else options.delimiter,
        quote_char=options.quote_char,
        has_header=options.has_header,
        null_values=options.null_values,
        skip_rows=options.skip_rows,
        encoding=_encoding(options.encoding),
        glob=False,
    )
    yield from rows.collect_batches(chunk_size=config.processing.batch_size, maintain_order=True)


def _encoding(name: str) -> Literal["utf8", "utf8-lossy"]:
    if name.lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig", "ascii"):
        raise DataflowError(f"source.file.options.encoding: {name!r} is not supported", hint="CSV is read as utf-8")
    return "utf8"


def _parquet(file: str, config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    yield from pl.scan_parquet(file, glob=False).collect_batches(
        chunk_size=config.processing.batch_size, maintain_order=True
    )


def _jsonl(file: str, config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    records: list[dict[str, Any]] = []
    empty = True
    with _open(file) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            empty = False
            record = _parse_json(line, file, first_line=number)
            if not isinstance(record, dict):
                raise DataflowError(f"{file}:{number}: expected an object, found {type(record).__name__}")
            records.append(record)
            if len(records) >= config.processing.batch_size:
                yield from_records(records)
                records = []
    if empty:
        raise DataflowError(f"{file}: the file is empty")
    if records:
        yield from_records(records)


def _json(file: str, config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    source = config.source.file
    assert source is not None
    document = _load(file)
    found = [document]
    if source.records:
        import jsonpath_ng

        try:
            found = [match.value for match in jsonpath_ng.parse(source.records).find(document)]
        except jsonpath_ng.exceptions.JSONPathError as error:
            raise DataflowError(
                f"source.file.records: {source.records!r} is not a JSONPath: {error}", hint="for example $.data[*]"
            ) from error
    records = [record for value in found for record in (value if isinstance(value, list) else [value])]
    yield from _batches(records, file, config)


def _geojson(file: str, config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield a row for each feature: ``id``, each property as a column, ``geometry`` as JSON text."""
    document = _load(file)
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
        raise DataflowError(f"{file}: not a GeoJSON feature collection: no list of objects under 'features'")
    for position, feature in enumerate(features):
        if not isinstance(feature.get("properties"), dict | None):
            raise DataflowError(f"{file}: not a GeoJSON feature collection: 'properties' of feature {position}")
    yield from _batches(
        [
            {"id": feature.get("id"), **(feature.get("properties") or {}), "geometry": feature.get("geometry")}
            for feature in features
        ],
        file,
        config,
    )


def _batches(records: list[Any], file: str, config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    for position, record in enumerate(records):
        if not isinstance(record, dict):
            raise DataflowError(
                f"{file}: record {position} is no object but {type(record).__name__}",
                hint="source.file.records is the JSONPath of the list of rows",
            )
    if records:
        # One frame first: the type of a column is that of all its values, whatever the size of a batch.
        yield from from_records(records).iter_slices(config.processing.batch_size)


def _load(file: str) -> Any:
    with _open(file) as stream:
        text = stream.read()
    if not text.strip():
        raise DataflowError(f"{file}: the file is empty")
    return _parse_json(text, file)


def _parse_json(text: str, file: str, first_line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise DataflowError(
            f"{file}:{line}:{error.colno}: not valid JSON: {error.msg}", hint="is the file cut off?"
        ) from error


def _open(file: str) -> IO[str]:
    if "://" in file:
        import fsspec

        stream: IO[str] = fsspec.open(file, "rt", compression="infer", encoding="utf-8-sig").open()
        return stream
    if file.endswith(".gz"):
        return gzip.open(file, "rt", encoding="utf-8-sig")
    return Path(file).open(encoding="utf-8-sig")


_READERS: dict[str, Callable[[str, WorkflowConfig], Iterator[pl.DataFrame]]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "json": _json,
    "geojson": _geojson,
    "parquet": _parquet,
}
