"""The steps of a run, without Dagster: each takes what the step before returned and adds to it."""

from __future__ import annotations

import hashlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl
import polars.selectors as cs

from dataflow_runtime.config import Window, WorkflowConfig, config_manager
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.casting import dtype_of
from dataflow_runtime.pipeline.checks import (
    REJECTED_SCHEMA,
    OnRejected,
    Transform,
    check_rows,
    each_batch,
    is_lazy,
)
from dataflow_runtime.pipeline.duplicates import drop_duplicates
from dataflow_runtime.pipeline.frames import Rows, to_frame
from dataflow_runtime.pipeline.load import LOAD_ID, load, needs_load_id, rejected_keys
from dataflow_runtime.pipeline.rejected import read_rejected, selection
from dataflow_runtime.pipeline.schema import loadable, one_schema, scan
from dataflow_runtime.pipeline.sources.files import local_files, readable
from dataflow_runtime.pipeline.staging import (
    BatchWriter,
    SourceFile,
    StagedRun,
    batched,
    count_rows,
    file_system,
    files_of,
    is_remote,
    remove,
    remove_abandoned,
    remove_old,
    sink,
    writing,
)
from dataflow_runtime.pipeline.warehouse import column_name
from dataflow_runtime.pipeline.window import inside, resolve
from dataflow_runtime.settings import get_settings

__all__ = ["Extract", "Pipeline"]

Extract = Callable[[WorkflowConfig], pl.LazyFrame | Iterable[Rows]]

# How long a failed or killed run can be looked at, or executed again from where it failed.
_KEEP_STAGING = timedelta(days=7)


@dataclass(frozen=True)
class Pipeline:
    """A workflow's own code, in the runtime's order.

    Attributes:
        workflow: Name of the workflow, whose config each step reads.
        extract: Config to rows: a LazyFrame, or batches.
        transform: Rows to rows.
        checks: Name to an expression that is true for good rows.
    """

    workflow: str
    extract: Extract
    transform: Transform
    checks: Mapping[str, pl.Expr]

    @property
    def folder(self) -> Path:
        """The folder of the workflow's own code."""
        return Path(inspect.getfile(self.extract)).parent

    def config(self, run: StagedRun) -> WorkflowConfig:
        """Return the run's effective config."""
        return config_manager.load_config(self.workflow, env=run.env, overrides=run.overrides)

    def run_extract(
        self,
        run_id: str,
        *,
        env: str | None,
        overrides: Mapping[str, Any],
        window: Window | None = None,
        rejected: str | None = None,
    ) -> StagedRun:
        """Stage the source's rows as they are, or note the local files that transform reads.

        Args:
            run_id: The run.
            env: Name of the config overlay.
            overrides: Config values of the run, dotted key to value.
            window: The only rows to read, of a partition or a range; by default, with
                ``processing.cursor``, those that may be new.
            rejected: Name of a check, or `ANY_CHECK`: read the rows that it rejected again, and
                not the source.

        Raises:
            UsageError: No row was rejected by the check.
            DataflowError: The source cannot be read, or the workflow cannot load a window.
        """
        root = self._root
        config = config_manager.load_config(self.workflow, env=env, overrides=overrides)
        # Dagster keeps what its steps hand over beside the workflows, where staging is shared.
        for folder in (root, f"{get_settings().staging_root}/dagster"):
            remove_old(folder, _KEEP_STAGING)
        remove_abandoned()
        run = StagedRun(run_id, f"{root}/{run_id}", env=env, overrides=overrides)
        if rejected is not None:
            condition = selection(rejected)
            run = replace(run, replayed=condition, load_id=run_id if needs_load_id(config) else "")
            staged = self._stage(read_rejected(config, condition, rejected), run, config)
            return replace(run, extracted=staged)
        window = resolve(config, window)
        run = replace(run, window=window)
        rows = self.extract(config.within(window))
        files = local_files(config) if isinstance(rows, pl.LazyFrame) else []
        if files and not is_remote(root):
            run = replace(run, files=tuple(map(SourceFile.of, files)))
        else:
            run = replace(run, extracted=self._stage(rows, run, config))
        return replace(run, load_id=self._load_id(run, config))

    def run_transform(self, run: StagedRun) -> StagedRun:
        """Transform and check the rows in one pass; stage the accepted and the rejected ones.

        Raises:
            DataflowError: The rows cannot be read, transformed or checked, or more than
                ``processing.max_rejected_ratio`` of them are rejected.
        """
        config = self.config(run)
        key = [column_name(name) for name in config.processing.primary_key]
        cursor = config.processing.cursor
        with (
            _transform_errors(),
            self._rows(run, config) as rows,
            writing(run.folder("accepted")) as accepted,
            writing(run.folder("rejected")) as rejected,
        ):
            extracted = 0
            # A source without rows may not say its columns.
            nothing_rejected = run.replayed and not run.extracted
            if rows.collect_schema() and not nothing_rejected:
                extracted = self._process(rows, run, config, accepted, rejected)
            one_schema(accepted)
            duplicates = 0
            if config.output.write_disposition == "merge":
                newer = column_name(cursor.column) if cursor else None
                duplicates = drop_duplicates(accepted, key, newer)
            loaded, refused = count_rows(accepted), count_rows(rejected)
        with files_of(run.folder("rejected")) as files:
            by_check = _count_by_check(files)
        run = replace(
            run,
            extracted=extracted,
            rejected=refused,
            rejected_by=by_check,
            duplicates=duplicates,
            loaded=loaded,
        )
        _check_ratio(run, config)
        return run

    def run_load(self, run: StagedRun, *, last: bool = False) -> StagedRun:
        """Load the staged rows, then remove the run's staging.

        Args:
            run: What the transform step returned.
            last: Whether no dbt step follows.
        """
        run = replace(run, columns=load(self.config(run), run))
        remove(run.staging)
        if last:
            self.finish(run.run_id)
        return run

    def finish(self, run_id: str) -> None:
        """Note that a run has succeeded: the same rows, extracted again, are new ones."""
        with file_system(self._unfinished) as (files, path):
            for marker in files.ls(path, detail=False) if files.exists(path) else ():
                if files.read_text(marker).split()[-1] == run_id:
                    files.rm(marker)

    @property
    def _root(self) -> str:
        return f"{get_settings().staging_root}/{self.workflow}"

    @property
    def _unfinished(self) -> str:
        return f"{self._root}/unfinished"

    def _stage(self, rows: Any, run: StagedRun, config: WorkflowConfig) -> int:
        """Write the rows that extract returned as Parquet; return their number."""
        size = config.processing.batch_size
        if isinstance(rows, pl.LazyFrame):
            with readable(config):
                return self._stage(
                    rows.collect_batches(chunk_size=size, maintain_order=True), run, config
                )
        frames: Iterable[pl.DataFrame] = map(to_frame, rows)
        window = run.window
        if window is not None:
            frames = (inside(frame.lazy(), config, window).collect() for frame in frames)
        with writing(run.folder("extracted")) as folder, BatchWriter(folder) as writer:
            for frame in batched(frames, size):
                writer.write(frame)
        return writer.rows

    def _load_id(self, run: StagedRun, config: WorkflowConfig) -> str:
        """Return what identifies the rows of an append without a cursor; "" where nothing has to.

        It is the run's id, or that of an earlier run that extracted the same and did not succeed:
        its rows may be in the table, and are replaced then.
        """
        if not needs_load_id(config):
            return ""
        marker = f"{self._unfinished}/{self._digest(run, config)}"
        with file_system(marker) as (files, path):
            load_id = files.read_text(path).split()[0] if files.exists(path) else run.run_id
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.write_text(path, f"{load_id} {run.run_id}")
        return str(load_id)

    def _digest(self, run: StagedRun, config: WorkflowConfig) -> str:
        """Return a digest of what a run extracted: the files as they were, or the staged rows."""
        digest = hashlib.sha256(config.source.model_dump_json().encode())
        digest.update(repr((run.files, run.window)).encode())
        if not run.files:
            with files_of(run.folder("extracted")) as files:
                for file in files:
                    with Path(file).open("rb") as content:
                        digest.update(hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()

    @contextmanager
    def _rows(self, run: StagedRun, config: WorkflowConfig) -> Iterator[pl.LazyFrame]:
        """Give the extracted rows: of the source's files where they are, or of staging."""
        if run.files:
            _check_unchanged(run)
            with readable(config):
                rows = self.extract(config.within(run.window))
                assert isinstance(rows, pl.LazyFrame)
                yield rows if run.window is None else inside(rows, config, run.window)
            _check_unchanged(run)
            return
        with files_of(run.folder("extracted")) as files:
            if files:
                yield scan(files)
            else:
                # dbt needs the table, without rows too: with the declared columns.
                columns = config.processing.columns
                yield pl.LazyFrame(schema={n: dtype_of(kind) for n, kind in columns.items()})

    def _process(
        self,
        rows: pl.LazyFrame,
        run: StagedRun,
        config: WorkflowConfig,
        accepted: Path,
        rejected: Path,
    ) -> int:
        """Write accepted and rejected rows in one pass; return the number of rows read."""
        lock, count = Lock(), 0
        added = (
            pl.lit(run.run_id).alias("run_id"),
            pl.lit(datetime.now(UTC), dtype=pl.Datetime("us", "UTC")).alias("rejected_at"),
        )

        def counted(batch: pl.DataFrame) -> pl.DataFrame:
            nonlocal count
            with lock:
                count += batch.height
            return batch

        with BatchWriter(rejected) as bad_rows:
            # At least the columns, for the first run.
            bad_rows.write(pl.DataFrame(schema=REJECTED_SCHEMA).with_columns(added))

            def keep(frame: pl.DataFrame) -> None:
                with lock:
                    bad_rows.write(frame.with_columns(added))

            rows = each_batch(rows, counted, rows.collect_schema())
            if is_lazy(self.transform):
                good = self._checked(rows, run, config, keep)
                sink(good, accepted / "part-000000.parquet").collect(engine="streaming")
                return count
            # A `transform` that takes DataFrames gets one batch at a time.
            size = config.processing.batch_size
            batches = rows.collect_batches(chunk_size=size, maintain_order=True)
            with BatchWriter(accepted) as good_rows:
                for batch in chain(batches, [rows.clear().collect()]):
                    if good_rows.rows == 0 or not batch.is_empty():
                        good = self._checked(batch.lazy(), run, config, keep)
                        good_rows.write(good.collect())
        return count

    def _checked(
        self, rows: pl.LazyFrame, run: StagedRun, config: WorkflowConfig, keep: OnRejected
    ) -> pl.LazyFrame:
        """Return the rows to load, in the columns of the table."""
        accepted = check_rows(
            rows,
            columns=config.processing.columns,
            transform=self.transform,
            checks={**self.checks, **_own_checks(config)},
            primary_key=config.processing.primary_key,
            on_rejected=keep,
            need_source=bool(run.replayed),
        )
        accepted = loadable(accepted)
        if run.load_id:
            if LOAD_ID in accepted.collect_schema():
                raise DataflowError(
                    f"the rows have a column {LOAD_ID!r}, which the runtime adds", hint="rename it"
                )
            accepted = accepted.with_columns(pl.lit(run.load_id).alias(LOAD_ID))
        return accepted


def _own_checks(config: WorkflowConfig) -> dict[str, pl.Expr]:
    """Return the runtime's checks: what cannot be loaded is rejected with a reason, too."""
    checks = {}
    if config.output.warehouse == "postgres":
        checks["nul_byte"] = pl.all_horizontal(~cs.string().str.contains("\0", literal=True))
    if config.output.write_disposition == "append" and config.processing.cursor is not None:
        # No run could tell whether such a row is loaded already.
        checks["cursor"] = pl.col(config.processing.cursor.column).is_not_null()
    return checks


@contextmanager
def _transform_errors() -> Iterator[None]:
    """Turn an error of a query into one line; Polars' own have many, and panics are not errors."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataflowError(
            f"transform: {reason}", hint="check transform() and CHECKS, and the columns they use"
        ) from error


def _check_unchanged(run: StagedRun) -> None:
    for file in run.files:
        try:
            unchanged = SourceFile.of(file.path) == file
        except OSError as error:
            raise DataflowError(
                f"{file.path} cannot be read any more: {error.strerror}",
                hint="run the workflow again",
            ) from error
        if not unchanged:
            raise DataflowError(
                f"{file.path} has changed since the run began", hint="run the workflow again"
            )


def _count_by_check(files: list[str]) -> dict[str, int]:
    if not files:
        return {}
    names = scan(files).select(pl.col("checks").str.split(",").explode()).collect().to_series()
    return dict(Counter(names).most_common())


def _check_ratio(run: StagedRun, config: WorkflowConfig) -> None:
    """Raise where more rows are rejected than ``processing.max_rejected_ratio`` allows."""
    if run.replayed:
        return  # they were rejected before
    limit, rows, refused = config.processing.max_rejected_ratio, run.extracted, run.rejected
    if refused <= limit * rows:
        return
    if config.processing.cursor is not None:
        # A row whose cursor cannot be read comes with every run: a known one is not news.
        with files_of(run.folder("rejected")) as files:
            known = scan(files).filter(pl.col("row_key").is_in(rejected_keys(config)))
            again = known.select(pl.len()).collect().item()
        rows, refused = rows - again, refused - again
    if refused > limit * rows:
        counts = ", ".join(f"{name} {count}" for name, count in run.rejected_by.items())
        raise DataflowError(
            f"{refused} of {rows} rows are rejected ({refused / rows:.1%}: {counts}), "
            f"processing.max_rejected_ratio allows {limit:.1%}",
            hint=f"nothing was loaded; the rejected rows are in {run.folder('rejected')}",
        )
