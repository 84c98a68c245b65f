"""The steps of a run, without Dagster: each takes the manifest of the step before and returns its own."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from dataflow_runtime.config import Window, WorkflowConfig, config_manager
from dataflow_runtime.errors import DataflowError
from dataflow_runtime.pipeline.checks import Transform, process_batch, row_keys
from dataflow_runtime.pipeline.columns import dtype_of
from dataflow_runtime.pipeline.frames import Rows, to_frame
from dataflow_runtime.pipeline.load import load
from dataflow_runtime.pipeline.manifest import Manifest
from dataflow_runtime.pipeline.staging import Parts, batched, read_parts, remove, remove_old
from dataflow_runtime.pipeline.unfinished import finish, load_id
from dataflow_runtime.pipeline.warehouse import forget_rejected, rejected_keys
from dataflow_runtime.pipeline.window import inside, resolve
from dataflow_runtime.settings import get_settings

__all__ = ["Manifest", "Pipeline"]

Extract = Callable[[WorkflowConfig], Iterable[Rows]]


# For as long a failed or killed run can be looked at, or executed again from where it failed.
_KEEP_STAGING = timedelta(days=7)


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
        return config_manager.load_config(
            self.workflow, env=manifest.env, overrides=manifest.overrides
        )

    def run_extract(
        self,
        run_id: str,
        *,
        env: str | None,
        overrides: Mapping[str, Any],
        window: Window | None = None,
    ) -> Manifest:
        """Stage the source's rows as they are.

        Args:
            run_id: The run.
            env: Name of the config overlay.
            overrides: Config values of the run, dotted key to value.
            window: The only rows to read, of a partition or a range; by default, with ``processing.cursor``, those
                that may be new.

        Raises:
            DataflowError: The source cannot be read, or the workflow cannot load a window.
        """
        root = f"{get_settings().staging_root}/{self.workflow}"
        config = config_manager.load_config(self.workflow, env=env, overrides=overrides)
        remove_old(root, _KEEP_STAGING)
        window = resolve(config, window)
        manifest = Manifest(
            run_id=run_id,
            staging=f"{root}/{run_id}",
            load_id=load_id(config, root, run_id),
            window=window,
            env=env,
            overrides=dict(overrides),
        )
        config = config.within(window)
        frames: Iterator[pl.DataFrame] = map(to_frame, self.extract(config))
        if window is not None:
            frames = (inside(frame, config, window) for frame in frames)
        with Parts(manifest.folder("extracted")) as parts:
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
        key = config.processing.primary_key if config.output.write_disposition == "merge" else ()
        with (
            Parts(manifest.folder("accepted"), required=key) as accepted,
            Parts(manifest.folder("rejected"), required=["row_key"]) as rejected,
        ):
            for batch in self._batches(manifest, config):
                outcome = process_batch(
                    batch,
                    columns=config.processing.columns,
                    transform=self.transform,
                    checks={**self.checks, **_own_checks(config)},
                    primary_key=config.processing.primary_key,
                )
                counts.update(
                    name for names in outcome.rejected["checks"] for name in names.split(",")
                )
                accepted.add(outcome.accepted)
                rejected.add(
                    outcome.rejected.with_columns(
                        run_id=pl.lit(manifest.run_id), rejected_at=pl.lit(time)
                    )
                )
        self._check_ratio(manifest, config, rejected, counts)
        return replace(
            manifest, rejected=rejected.rows, rejected_by=dict(counts), loaded=accepted.rows
        )

    def _check_ratio(
        self, manifest: Manifest, config: WorkflowConfig, rejected: Parts, counts: Counter[str]
    ) -> None:
        limit, rows, refused = (
            config.processing.max_rejected_ratio,
            manifest.extracted,
            rejected.rows,
        )
        if refused <= limit * rows:
            return
        if config.processing.cursor is not None:
            # A row whose cursor cannot be read comes again with every run: one that is known is no news.
            known = rejected_keys(config)
            again = sum(
                part.filter(pl.col("row_key").is_in(known)).height
                for part in read_parts(manifest.folder("rejected"))
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
            yield pl.DataFrame(
                schema={name: dtype_of(kind) for name, kind in config.processing.columns.items()}
            )

    def run_load(self, manifest: Manifest, *, last: bool = False) -> Manifest:
        """Load the staged rows, then remove the run's staging.

        Args:
            manifest: What the transform step returned.
            last: Whether no dbt step follows.
        """
        config = self.config(manifest)
        # Before the load: if that fails, the source still has the rows, and they are read again.
        self._forget_corrected(manifest, config)
        load(config, manifest)
        remove(manifest.staging)
        if last:
            self.finish()
        return manifest

    def finish(self) -> None:
        """Note that the run is over: the next one's rows are other rows, whether its dbt models were built or not."""
        finish(f"{get_settings().staging_root}/{self.workflow}")

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


def _own_checks(config: WorkflowConfig) -> dict[str, pl.Expr]:
    """Return the runtime's checks: what cannot be loaded is rejected with a reason, like all else that is wrong."""
    checks = {}
    if config.output.warehouse == "postgres":
        checks["nul_byte"] = pl.all_horizontal(~cs.string().str.contains("\0", literal=True))
    if config.output.write_disposition == "append" and config.processing.cursor is not None:
        # No run could tell whether the row is there already.
        checks["cursor"] = pl.col(config.processing.cursor.column).is_not_null()
    return checks
