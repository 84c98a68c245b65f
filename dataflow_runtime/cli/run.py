"""``run``: the workflow's job, with its progress and a summary."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any

import click

from dataflow_runtime.cli import options, output
from dataflow_runtime.cli.failures import require
from dataflow_runtime.errors import DataflowError, UsageError

if TYPE_CHECKING:
    from dataflow_runtime.orchestration.report import RunReport, StepReport

_REQUEST = {"config", "env", "partition", "record_only", "tags"}
_SIGNS = {"success": ("✓", "green"), "failure": ("✗", "red")}


@click.command("run")
@options.name_argument
@options.set_option
@options.env_option
@click.option("--partition", metavar="KEY", help="Partition to run, for a partitioned workflow.")
@click.option(
    "start",
    "--from",
    metavar="TIME",
    help="Only rows from this time on (ISO 8601, UTC by default).",
)
@click.option("end", "--to", metavar="TIME", help="Only rows before this time.")
@click.option(
    "--rejected", is_flag=True, help="Rejected rows instead of the source: check them again."
)
@click.option("--check", metavar="CHECK", help="With --rejected: only rows that failed this check.")
@click.option("--run-id", metavar="ID", help="Id of the run in Dagster; by default a new one.")
@click.option(
    "--request",
    metavar="FILE",
    type=click.File(encoding="utf-8"),
    help="JSON object of config, env and partition, as the REST API takes it; - is stdin."
    " A refusal is JSON, too.",
)
@options.json_option
@click.pass_context
def run_command(
    ctx: click.Context,
    /,
    *,
    name: str,
    rejected: bool,
    check: str | None,
    request: IO[str] | None,
    as_json: bool,
    **run: Any,
) -> int:
    """Run a workflow's job here and now.

    The run is recorded in DAGSTER_HOME, where `dev` shows it. --from and --to are times of
    `processing.cursor`; rows of that window are loaded again. --rejected sends the rows of
    <table>_rejected through today's transform and checks: what passes is loaded and leaves it.

    \b
    Examples:
      dataflow-runtime run my_workflow --set source.type=mock
      dataflow-runtime run my_workflow --env prod --json
      dataflow-runtime run my_workflow --from 2026-02-01 --to 2026-02-15
      dataflow-runtime run my_workflow --rejected --check positive_amount
    """
    from dataflow_runtime.orchestration import interrupts
    from dataflow_runtime.workflows.discovery import find_workflow

    if check is not None and not rejected:
        raise UsageError("--check needs --rejected", hint="`check NAME` checks a workflow")
    # An unknown name is an answer of milliseconds, before anything heavy is imported.
    find_workflow(name)
    require("run")
    steps = _Steps()
    try:
        with interrupts.ends_on_signals():
            output.announced_home()
            if request:
                run |= _read_request(request, run["overrides"])
            output.echo(output.clean(f"loading {name} …"), err=True)
            with output.quiet_stdout():
                from dataflow_runtime.orchestration.run import run_workflow
                from dataflow_runtime.pipeline.rejected import ANY_CHECK

                run["rejected"] = check or ANY_CHECK if rejected else None
                report = run_workflow(name, **run, on_step=steps, verbose=ctx.obj.verbose)
    except DataflowError as error:
        if request:
            found = {"message": error.message, "hint": error.hint}
            output.print_json({"error": {"kind": type(error).__name__, **found}})
        raise
    except KeyboardInterrupt:
        hint = "the next run does the rest; no row is loaded twice"
        output.print_error(steps.kept(), hint, label="interrupted")
        interrupts.end()
    if as_json or request:
        output.print_json(report.to_json())
    else:
        _print_summary(report)
    return int(report.status != "success")


def _read_request(request: IO[str], overrides: dict[str, str]) -> dict[str, Any]:
    """Return what a server asks for, as arguments of `run_workflow`."""
    try:
        asked = json.load(request)
    except ValueError as error:
        raise UsageError(f"--request: not JSON: {error}") from None
    if not isinstance(asked, dict) or not asked.keys() <= _REQUEST:
        raise UsageError(f"--request: expected an object of {', '.join(sorted(_REQUEST))}")
    config = asked.pop("config", None) or {}
    return {"overrides": {**config, **overrides}, **asked}


class _Steps:
    """Prints each step as it starts and ends, and remembers which ones are done.

    No status line that changes: the prints of the steps would be mixed into it.
    """

    def __init__(self) -> None:
        self._done: list[str] = []
        self._running = ""

    def __call__(self, step: StepReport) -> None:
        self._running = step.name
        if step.status == "running":
            output.echo(output.clean(f"  {step.name} …"), err=True)
            return
        if step.status == "success":
            self._done.append(step.name)
        sign, color = _SIGNS.get(step.status, ("–", "yellow"))
        seconds = "" if step.seconds is None else f"{step.seconds:7.2f} s"
        line = output.clean(f"{step.name:<10}{seconds:<11} {_outcome(step)}".rstrip())
        output.echo(f"{output.styled(sign, fg=color)} {line}", err=True)

    def kept(self) -> str:
        """Return what an interrupted run keeps."""
        done = f"{', '.join(self._done)} done" if self._done else "no step was done"
        if "load" in self._done:
            return f"{done}; the rows are loaded"
        unsure = ", unless load had just committed" if self._running == "load" else ""
        return f"{done}; the tables are as before{unsure}"


def _outcome(step: StepReport) -> str:
    dbt = step.result.get("dbt")
    if dbt:
        failed = f", {len(dbt['failed'])} failed" if dbt["failed"] else ""
        return f"{dbt['models']} models built, {dbt['tests']} tests passed{failed}"
    counts = [(key, step.result.get(key)) for key in ("extracted", "rejected", "loaded")]
    words = [f"{count:,} rows {key}" for key, count in counts if count is not None]
    if duplicates := step.result.get("duplicates"):
        words.append(f"{duplicates:,} duplicates of a primary key left out")
    return ", ".join(words)


def _print_summary(report: RunReport) -> None:
    rows = [("workflow", report.workflow), ("run", report.run_id), ("status", report.status)]
    # A job of other ops than ours reports neither rows nor a warehouse.
    if report.tables or report.rows["extracted"]:
        warehouse = report.warehouse or {}
        duplicates = sum(step.result.get("duplicates", 0) for step in report.steps)
        rejected = [f"{report.rows['rejected']:,} rows"]
        rejected += [f"  {name}: {count:,}" for name, count in sorted(report.rejected_by.items())]
        rows += [
            ("extracted", f"{report.rows['extracted']:,} rows"),
            ("rejected", "\n".join(rejected)),
            *([("duplicates", f"{duplicates:,} rows")] if duplicates else []),
            ("loaded", f"{report.rows['loaded']:,} rows"),
            ("dbt", f"{report.dbt['models']} models built, {report.dbt['tests']} tests passed"),
            ("tables", "\n".join(report.tables) or "–"),
            ("warehouse", f"{warehouse.get('type', '–')} {warehouse.get('location', '')}"),
        ]
    times = [(step.name, step.status, step.seconds) for step in report.steps]
    seconds = [f"{name} {word if time is None else f'{time:.2f}'}" for name, word, time in times]
    output.print_table([*rows, ("seconds", "  ".join(seconds))])
    if report.error:
        step = f"{report.error['step']}: " if report.error["step"] else ""
        output.print_error(f"{step}{report.error['message']}", report.error["hint"])
