"""``run``: the workflow's job, with its progress and a summary."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from dataflow_runtime.cli.output import (
    announced_home,
    json_option,
    print_json,
    print_table,
    quiet_stdout,
)
from dataflow_runtime.errors import UsageError

if TYPE_CHECKING:
    from dataflow_runtime.orchestration.report import RunReport, StepReport

__all__ = ["run_command"]


@click.command("run")
@click.argument("name")
@click.option(
    "overrides",
    "--set",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a config value for this run.",
)
@click.option("--env", help="Config overlay to use (config.<env>.yaml); by default DATAFLOW_ENV.")
@click.option("--partition", metavar="KEY", help="Partition to run, for a partitioned workflow.")
@click.option(
    "start",
    "--from",
    metavar="TIME",
    help="Only rows from this time on (ISO 8601, UTC without an offset).",
)
@click.option("end", "--to", metavar="TIME", help="Only rows before this time.")
@json_option
@click.pass_context
def run_command(
    ctx: click.Context,
    *,
    name: str,
    overrides: tuple[str, ...],
    env: str | None,
    partition: str | None,
    start: str | None,
    end: str | None,
    as_json: bool,
) -> None:
    """Run a workflow's job here and now. The run is recorded in DAGSTER_HOME, where `dev` shows it.

    Times of --from and --to are those of `processing.cursor`; rows of that window are loaded again.
    """
    from dataflow_runtime.workflows.discovery import find_workflow

    find_workflow(
        name
    )  # an unknown name is an answer of milliseconds, before anything heavy is imported
    values = dict(map(_assignment, overrides))
    announced_home()
    progress = _Progress()
    # A terminal's live lines go to stderr, where the tools underneath may write as well.
    with quiet_stdout(), nullcontext() if as_json else progress:
        from dataflow_runtime.orchestration.run import run_workflow

        report = run_workflow(
            name,
            overrides=values,
            env=env,
            partition=partition,
            start=start,
            end=end,
            on_step=progress.on_step,
            verbose=ctx.obj,
        )
    if as_json:
        print_json(report.to_json())
    else:
        _summary(report)
    if report.status != "success":
        ctx.exit(1)


def _assignment(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UsageError(
            f"--set {text!r}: expected KEY=VALUE", hint="for example --set source.type=mock"
        )
    return key.strip(), value


class _Progress:
    """Shows each step: a spinner while it runs in a terminal, a plain line at its end elsewhere."""

    def __init__(self) -> None:
        self._status: Any = None

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("loading the workflow")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def on_step(self, step: StepReport) -> None:
        if step.status == "running":
            if self._status is not None:
                self._status.update(f"{step.name} …")
            return
        seconds = "" if step.seconds is None else f"{step.seconds:7.2f} s"
        sign, color = {"success": ("✓", "green"), "failure": ("✗", "red")}.get(
            step.status, ("–", "yellow")
        )
        click.secho(f"{sign} ", fg=color, nl=False, err=True)
        click.echo(f"{step.name:<10}{seconds:<11} {_outcome(step)}".rstrip(), err=True)


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


def _seconds(step: StepReport) -> str:
    return step.status if step.seconds is None else f"{step.seconds:.2f}"


def _summary(report: RunReport) -> None:
    by_check = "".join(
        f"\n  {name}: {count:,}" for name, count in sorted(report.rejected_by.items())
    )
    print_table(
        [
            ("workflow", report.workflow),
            ("run", report.run_id),
            ("status", report.status),
            ("extracted", f"{report.rows['extracted']:,} rows"),
            ("rejected", f"{report.rows['rejected']:,} rows{by_check}"),
            ("loaded", f"{report.rows['loaded']:,} rows"),
            ("dbt", f"{report.dbt['models']} models built, {report.dbt['tests']} tests passed"),
            ("tables", "\n".join(report.tables) or "–"),
            ("warehouse", " ".join((report.warehouse or {}).values()) or "–"),
            ("seconds", "  ".join(f"{step.name} {_seconds(step)}" for step in report.steps)),
        ],
        styles={"success": "green", "failure": "red"},
    )
    if report.error:
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        step = f"{report.error['step']}: " if report.error["step"] else ""
        click.echo(f"{step}{report.error['message']}", err=True)
        if report.error["hint"]:
            click.secho("hint: ", fg="cyan", bold=True, nl=False, err=True)
            click.echo(report.error["hint"], err=True)
