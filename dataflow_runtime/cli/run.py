"""``run``: the workflow's job, with its progress and a summary."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import click

from dataflow_runtime.cli.failures import require
from dataflow_runtime.cli.options import env_option, json_option, name_argument, set_option
from dataflow_runtime.cli.output import (
    Progress,
    announced_home,
    clean,
    print_error,
    print_json,
    print_table,
    quiet_stdout,
    styled,
)
from dataflow_runtime.errors import DataflowError, UsageError

if TYPE_CHECKING:
    from dataflow_runtime.orchestration.report import RunReport, StepReport

__all__ = ["run_command"]

_REQUEST = {"config", "env", "partition", "record_only", "tags"}
_SIGNS = {"success": ("✓", "green"), "failure": ("✗", "red")}


@click.command("run")
@name_argument
@set_option
@env_option
@click.option("--partition", metavar="KEY", help="Partition to run, for a partitioned workflow.")
@click.option(
    "start",
    "--from",
    metavar="TIME",
    help="Only rows from this time on (ISO 8601, UTC by default).",
)
@click.option("end", "--to", metavar="TIME", help="Only rows before this time.")
@click.option("--run-id", metavar="ID", help="Id of the run in Dagster; by default a new one.")
@click.option(
    "--request",
    metavar="FILE",
    type=click.File(encoding="utf-8"),
    help="JSON object of config, env and partition, as the REST API takes it; - is stdin."
    " A refusal is JSON, too.",
)
@json_option
@click.pass_context
def run_command(
    ctx: click.Context,
    *,
    name: str,
    overrides: Mapping[str, str],
    env: str | None,
    partition: str | None,
    start: str | None,
    end: str | None,
    run_id: str | None,
    request: IO[str] | None,
    as_json: bool,
) -> None:
    """Run a workflow's job here and now.

    The run is recorded in DAGSTER_HOME, where `dev` shows it.

    --from and --to are times of `processing.cursor`; rows of that window are loaded again.

    \b
    Examples:
      dataflow-runtime run my_workflow --set source.type=mock
      dataflow-runtime run my_workflow --env prod --json
      dataflow-runtime run my_workflow --from 2026-02-01 --to 2026-02-15
    """
    from dataflow_runtime.workflows.discovery import find_workflow

    # An unknown name is an answer of milliseconds, before anything heavy is imported.
    find_workflow(name)
    require("run")
    announced_home()
    steps = _Steps()
    try:
        asked = _read_request(request) if request else {}
        config = asked.pop("config", None) or {}
        options = {"env": env, "partition": partition, "start": start, "end": end} | asked
        # The status line is on stderr, where the tools underneath may write as well.
        with quiet_stdout(), Progress(f"loading {name}") as progress:
            steps.progress = progress
            from dataflow_runtime.orchestration.run import run_workflow

            report = run_workflow(
                name,
                overrides={**config, **overrides},
                run_id=run_id,
                on_step=steps,
                verbose=ctx.obj.verbose,
                **options,
            )
    except DataflowError as error:
        if request:
            found = {"message": error.message, "hint": error.hint}
            print_json({"error": {"kind": type(error).__name__, **found}})
        raise
    except KeyboardInterrupt:
        hint = "the next run does the rest; no row is loaded twice"
        print_error(steps.kept(), hint, label="interrupted")
        ctx.exit(130)
    if as_json or request:
        print_json(report.to_json())
    else:
        _print_summary(report)
    if report.status != "success":
        ctx.exit(1)


def _read_request(request: IO[str]) -> dict[str, Any]:
    """Return what a server asks for."""
    # A server that was started in the background may ignore the signal that cancels a run.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        asked = json.load(request)
    except ValueError as error:
        raise UsageError(f"--request: not JSON: {error}") from None
    if not isinstance(asked, dict) or not asked.keys() <= _REQUEST:
        raise UsageError(f"--request: expected an object of {', '.join(sorted(_REQUEST))}")
    return asked


class _Steps:
    """Shows each step as it starts and ends, and remembers which ones are done."""

    progress: Progress

    def __init__(self) -> None:
        self._done: list[str] = []

    def __call__(self, step: StepReport) -> None:
        if step.status == "running":
            self.progress.update(step.name)
            return
        if step.status == "success":
            self._done.append(step.name)
        sign, color = _SIGNS.get(step.status, ("–", "yellow"))
        seconds = "" if step.seconds is None else f"{step.seconds:7.2f} s"
        line = f"{step.name:<10}{seconds:<11} {_outcome(step)}".rstrip()
        self.progress.done(f"{styled(sign, fg=color)} {clean(line)}")

    def kept(self) -> str:
        """Return what an interrupted run keeps."""
        done = f"{', '.join(self._done)} done" if self._done else "no step was done"
        loaded = "stay" if "load" in self._done else "are as before, unless load had just committed"
        return f"{done}; the tables {loaded}"


def _outcome(step: StepReport) -> str:
    result = step.result
    dbt = result.get("dbt")
    if dbt:
        failed = f", {len(dbt['failed'])} failed" if dbt["failed"] else ""
        return f"{dbt['models']} models built, {dbt['tests']} tests passed{failed}"
    return ", ".join(
        f"{result[key]:,} rows {key}"
        for key in ("extracted", "rejected", "loaded")
        if key in result
    )


def _print_summary(report: RunReport) -> None:
    rejected = [f"{report.rows['rejected']:,} rows"]
    rejected += [f"  {name}: {count:,}" for name, count in sorted(report.rejected_by.items())]
    steps = [
        f"{step.name} {step.status if step.seconds is None else f'{step.seconds:.2f}'}"
        for step in report.steps
    ]
    rows = [("workflow", report.workflow), ("run", report.run_id), ("status", report.status)]
    # A job of other ops than ours reports neither rows nor a warehouse.
    if report.tables or report.rows["extracted"]:
        rows += [
            ("extracted", f"{report.rows['extracted']:,} rows"),
            ("rejected", "\n".join(rejected)),
            ("loaded", f"{report.rows['loaded']:,} rows"),
            ("dbt", f"{report.dbt['models']} models built, {report.dbt['tests']} tests passed"),
            ("tables", "\n".join(report.tables) or "–"),
            ("warehouse", " ".join((report.warehouse or {}).values()) or "–"),
        ]
    print_table(
        [*rows, ("seconds", "  ".join(steps))], styles={"success": "green", "failure": "red"}
    )
    if report.error:
        step = f"{report.error['step']}: " if report.error["step"] else ""
        print_error(f"{step}{report.error['message']}", report.error["hint"])
