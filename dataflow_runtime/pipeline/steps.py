"""The steps of a run, without Dagster: each takes the manifest of the step before and returns its own."""

from __future__ import annotations

import inspect
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from dataflow_runtime.config import WorkflowConfig, config_manager
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.checks import Transform, process_batch, row_keys
from dataflow_runtime.pipeline.columns import dtype_of
from dataflow_runtime.pipeline.cursor import newer_than, since
from dataflow_runtime.pipeline.frames import Rows, to_frame
from dataflow_runtime.pipeline.load import load
from dataflow_runtime.pipeline.staging import Parts, batched, read_parts, remove_old
from dataflow_runtime.pipeline.warehouse import forget_rejected, rejected_keys
from dataflow_runtime.settings import get_settings

__all__ = ["Manifest", "Pipeline"]

Extract = Callable[[WorkflowConfig], Iterable[Rows]]


# For as long a failed or killed run can be looked at, or executed again from where it failed.
_KEEP_STAGING = timedelta(days=7)

# What a warehouse cannot hold is rejected with a reason, like all else that cannot be loaded.
_WAREHOUSE_CHECKS = {"postgres": {"nul_byte": pl.all_horizontal(~cs.string().str.contains("\0", literal=True))}}


@dataclass(frozen=True)
class Manifest:
    """What one step hands the next: small and picklable. The rows stand in Parquet files below `staging`.

    Attributes:
        run_id: The run that extracted the rows; a re-execution keeps it.
        staging: Folder of the run's files.
        env: Config overlay of the run.
        overrides: Config values of the run, dotted key to value.
        extracted: Rows read from the source.
        rejected: Rows refused.
        rejected_by: Rows refused by each check; a row that fails two counts for both.
        loaded: Rows handed to the warehouse.
    """

    run_id: str
    staging: str
    env: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    extracted: int = 0
    rejected: int = 0
    rejected_by: Mapping[str, int] = field(default_factory=dict)
    loaded: int = 0

    def folder(self, part: str) -> Path:
        """Return the folder of one part of the run: ``extracted``, ``accepted``, ``rejected`` or ``dlt``."""
        return Path(self.staging) / part


@dataclass(frozen=True)
class Pipeline:
    """A workflow's own code, in the runtime's order.

    Attributes:
        workflow: Name of the workflow, whose config each step reads.
        extract: Config to batches of rows.
        transform: A batch to a batch.
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

    def config(self, manifest: Manifest) -> WorkflowConfig:
        """Return the run's effective config."""
        return config_manager.load_config(self.workflow, env=manifest.env, overrides=manifest.overrides)

    def run_extract(self, run_id: str, *, env: str | None, overrides: Mapping[str, Any]) -> Manifest:
        """Stage the source's rows as they are; with ``processing.cursor`` only those that may be new."""
        staging = get_settings().staging_root / self.workflow / run_id
        manifest = Manifest(run_id=run_id, staging=str(staging), env=env, overrides=dict(overrides))
        config = self.config(manifest)
        remove_old(staging.parent, _KEEP_STAGING)
        parts = Parts(manifest.folder("extracted"))
        frames: Iterator[pl.DataFrame] = map(to_frame, self.extract(config))
        lower_bound = since(config)
        if lower_bound is not None:
            frames = (newer_than(frame, config, lower_bound) for frame in frames)
        for frame in batched(frames, config.processing.batch_size):
            parts.add(frame)
        return replace(manifest, extracted=parts.rows)

    def run_transform(self, manifest: Manifest) -> Manifest:
        """Stage the transformed rows, and the rejected ones beside them.

        Raises:
            DataflowError: More than ``processing.max_rejected_ratio`` of the rows are rejected.
        """
        config = self.config(manifest)
        counts: Counter[str] = Counter()
        time = datetime.now(UTC)
        accepted, rejected = Parts(manifest.folder("accepted")), Parts(manifest.folder("rejected"))
        for batch in self._batches(manifest, config):
            outcome = process_batch(
                batch,
                columns=config.processing.columns,
                transform=self.transform,
                checks={**self.checks, **_WAREHOUSE_CHECKS.get(config.output.warehouse, {})},
                primary_key=config.processing.primary_key,
            )
            counts.update(name for names in outcome.rejected["checks"] for name in names.split(","))
            accepted.add(outcome.accepted)
            rejected.add(outcome.rejected.with_columns(run_id=pl.lit(manifest.run_id), rejected_at=pl.lit(time)))
        self._check_ratio(manifest, config, rejected, counts)
        return replace(manifest, rejected=rejected.rows, rejected_by=dict(counts), loaded=accepted.rows)

    def _check_ratio(self, manifest: Manifest, config: WorkflowConfig, rejected: Parts, counts: Counter[str]) -> None:
        limit, rows, refused = config.processing.max_rejected_ratio, manifest.extracted, rejected.rows
        if refused <= limit * rows:
            return
        if config.processing.cursor is not None:
            # A row whose cursor cannot be read comes again with every run: one that is known is no news.
            known = rejected_keys(config)
            again = sum(
                part.filter(pl.col("row_key").is_in(known)).height for part in read_parts(manifest.folder("rejected"))
            )
            rows, refused = rows - again, refused - again
        if refused > limit * rows:
            by_check = ", ".join(f"{name} {count}" for name, count in counts.most_common())
            raise DataflowError(
                f"{refused} of {rows} rows are rejected ({refused / rows:.1%}: {by_check}), "
                f"processing.max_rejected_ratio allows {limit:.1%}",
                hint=f"nothing was loaded; the rejected rows are in {manifest.folder('rejected')}",
            )

    def _batches(self, manifest: Manifest, config: WorkflowConfig) -> Iterator[pl.DataFrame]:
        if manifest.extracted:
            yield from read_parts(manifest.folder("extracted"))
        elif config.processing.columns:
            # No rows: an empty batch of the declared columns, so that the table is there for dbt all the same.
            yield pl.DataFrame(schema={name: dtype_of(kind) for name, kind in config.processing.columns.items()})

    def run_load(self, manifest: Manifest) -> Manifest:
        """Load the staged rows, then remove the run's staging."""
        config = self.config(manifest)
        # Before the load: if that fails, the source still has the rows, and they are read again.
        self._forget_corrected(manifest, config)
        load(
            config,
            accepted=manifest.folder("accepted"),
            rejected=manifest.folder("rejected"),
            working_folder=manifest.folder("dlt"),
        )
        shutil.rmtree(manifest.staging, ignore_errors=True)
        return manifest

    def _forget_corrected(self, manifest: Manifest, config: WorkflowConfig) -> None:
        """Take rows out of the rejected ones that have since been corrected at the source and load now."""
        known = rejected_keys(config) if config.processing.primary_key else set()
        if not known:
            return
        parts = read_parts(manifest.folder("accepted"))
        keys = (row_keys(part, config.processing.primary_key) for part in parts)
        corrected = [key for part in keys for key in part.filter(part.is_in(known))]
        if corrected:
            forget_rejected(config, corrected)
