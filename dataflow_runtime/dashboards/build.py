"""Builds the site of all installed workflows' dashboards: a folder that any static host serves."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any

import duckdb
from filelock import FileLock, Timeout

from dataflow_runtime.config.secrets import mask
from dataflow_runtime.dashboards.assembly import Site, collect, lay_out, write_skeleton
from dataflow_runtime.dashboards.failures import compile_failure, shown_failures, unrendered
from dataflow_runtime.dashboards.model import Dashboard, Problem
from dataflow_runtime.dashboards.node import Node, find_node, install, running
from dataflow_runtime.errors import DataflowError, UsageError
from dataflow_runtime.settings import get_settings

__all__ = ["BuildReport", "build_site", "evidence", "load_sources", "log_file", "prepared"]

Progress = Callable[[str], None]

_EVIDENCE_TYPES = {
    "number": "double",
    "string": "varchar",
    "date": "timestamp",
    "boolean": "boolean",
}


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        output: The folder of the site.
        dashboards: All installed workflows' dashboards.
    """

    output: Path
    dashboards: Sequence[Dashboard]

    @property
    def failed(self) -> bool:
        """Whether a dashboard is broken."""
        return any(dashboard.problems for dashboard in self.dashboards)

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON shape."""
        dashboards = [dashboard.to_json() for dashboard in self.dashboards]
        return {"output": str(self.output), "dashboards": dashboards}


def build_site(
    output: Path | None = None, *, on_progress: Progress = lambda _: None
) -> BuildReport:
    """Build the site from the workflows and warehouses as they are now; replace the last one.

    A broken dashboard is in the report, and has a page that says so; the others are built.

    Args:
        output: The folder of the site; by default ``$DATAFLOW_HOME/dashboards/site``.
        on_progress: Called with what is being done.

    Raises:
        DataflowError: There is no Node, Evidence cannot be installed, or it failed for a reason
            other than a dashboard.
        UsageError: `output` holds something else.
    """
    site = Site.of(get_settings())
    output = (output or site.folder.parent / "site").absolute()
    _check_output(output)
    with prepared(site, on_progress) as node:
        on_progress("reading the warehouses")
        dashboards = collect(site)
        while True:
            lay_out(site, dashboards)
            on_progress("taking up the rows")
            load_sources(site, node)
            on_progress(f"building the pages of {len(dashboards)} workflows (a minute or more)")
            printed = _build(site, node, dashboards)
            unbuilt = (
                printed
                if isinstance(printed, dict)
                else dict(unrendered(printed, _shown(dashboards)))
            )
            if not unbuilt:
                break
            for name, problem in unbuilt.items():
                on_progress(f"{name} cannot be built: once more without it")
                dashboards = _with_problem(dashboards, name, problem)
        assert isinstance(printed, str)
        built = site.folder / "build"
        for name, problem in shown_failures(printed, built, _shown(dashboards)):
            dashboards = _with_problem(dashboards, name, problem)
        _complete(built)
        _publish(built, output)
    return BuildReport(output, dashboards)


@contextmanager
def prepared(site: Site, on_progress: Progress) -> Iterator[Node]:
    """Hold the project, with Evidence installed in it.

    Raises:
        DataflowError: Another process is at work in it.
    """
    node = find_node(site.folder.parent / "node")
    site.settings.make_home()
    site.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(site.folder.parent / ".lock").acquire(timeout=0):
            write_skeleton(site)
            if not (site.folder / "node_modules").is_dir():
                on_progress(f"installing Evidence into {site.folder} (once, a minute or more)")
            install(site.folder, node, log_file(site, "npm"))
            yield node
    except Timeout:
        message = f"another `dashboards` command is at work in {site.folder.parent}"
        raise DataflowError(message, hint="wait for its end, or stop it") from None


def evidence(*arguments: str) -> list[str]:
    """Return the command that runs Evidence in a project."""
    return ["node", str(Path("node_modules", "@evidence-dev", "evidence", "cli.js")), *arguments]


def load_sources(site: Site, node: Node) -> None:
    """Let Evidence take up the rows that were read from the warehouses.

    Raises:
        DataflowError: It failed.
    """
    # What it has taken up of workflows that are gone would stay in the site.
    shutil.rmtree(site.rendered_data, ignore_errors=True)
    site.rendered_data.mkdir(parents=True)
    with running(
        evidence("sources", "--strict"), site.folder, node.environment(os.environ)
    ) as process:
        printed, _ = process.communicate()
    log = log_file(site, "sources")
    log.write_text(printed, encoding="utf-8")
    if process.returncode != 0:
        raise DataflowError(f"evidence sources: {_last_line(printed)}", hint=f"its output: {log}")
    # For a query without rows Evidence writes no file, and then fails for want of it.
    with duckdb.connect() as connection:
        for schema in site.rendered_data.rglob("*.schema.json"):
            file = schema.with_name(schema.name.replace(".schema.json", ".parquet"))
            if not file.exists():
                _write_empty(connection, json.loads(schema.read_text(encoding="utf-8")), file)


def _write_empty(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[dict[str, str]], file: Path
) -> None:
    names = [column["name"].replace('"', '""') for column in columns]
    types = [_EVIDENCE_TYPES[column["evidenceType"]] for column in columns]
    nulls = ", ".join(f'null::{kind} as "{name}"' for name, kind in zip(names, types, strict=True))
    connection.sql(f"select {nulls} where false").write_parquet(str(file))


def _build(site: Site, node: Node, dashboards: Sequence[Dashboard]) -> str | dict[str, Problem]:
    """Run Evidence; return what it printed, or the workflow that ended the build and why."""
    shutil.rmtree(site.folder / "build", ignore_errors=True)
    with running(evidence("build"), site.folder, node.environment(os.environ)) as process:
        printed, _ = process.communicate()
    log = log_file(site, "build")
    log.write_text(printed, encoding="utf-8")
    if process.returncode == 0 and (site.folder / "build" / "index.html").is_file():
        return printed
    failure = compile_failure(printed, _shown(dashboards))
    if failure is None:
        raise DataflowError(f"evidence build: {_last_line(printed)}", hint=f"its output: {log}")
    return dict([failure])


def _complete(built: Path) -> None:
    """Write empty lists of queries, which browsers request and Evidence omits."""
    for html in built.rglob("index.html"):
        page = "/" + html.parent.relative_to(built).as_posix().removeprefix(".")
        hashes = (md5(text.encode(), usedforsecurity=False).hexdigest() for text in (page, ""))
        queries = built.joinpath("api", *hashes, "all-queries.json")
        if not queries.exists():
            queries.parent.mkdir(parents=True, exist_ok=True)
            queries.write_text("{}", encoding="utf-8")


def _shown(dashboards: Sequence[Dashboard]) -> list[Dashboard]:
    """Return the dashboards whose own pages are in the site."""
    return [dashboard for dashboard in dashboards if dashboard.status == "ok"]


def _with_problem(dashboards: Sequence[Dashboard], name: str, problem: Problem) -> list[Dashboard]:
    return [
        dashboard.broken(problem) if dashboard.name == name else dashboard
        for dashboard in dashboards
    ]


def _check_output(output: Path) -> None:
    """Refuse to replace a folder that holds something else than a site."""
    if output.exists() and not (
        output.is_dir() and (_is_site(output) or not any(output.iterdir()))
    ):
        raise UsageError(
            f"--output {output}: is not empty, and no site", hint="name an empty or a new folder"
        )


def _is_site(folder: Path) -> bool:
    return (folder / "api" / "pagesManifest.json").is_file()


def _publish(built: Path, output: Path) -> None:
    """Put the built site in the place of the last one, whole."""
    new, old = (output.with_name(f".{output.name}.{part}") for part in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(built, new)
    if output.exists():
        output.rename(old)
    new.rename(output)
    shutil.rmtree(old, ignore_errors=True)


def log_file(site: Site, name: str) -> Path:
    """Return the file that holds what a step's tool printed last."""
    folder = site.folder.parent / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.log"


def _last_line(printed: str) -> str:
    """Return the line that says most of why Evidence failed."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line and not line.startswith("at ")]
    return mask((errors or lines or ["it printed nothing"])[0])
