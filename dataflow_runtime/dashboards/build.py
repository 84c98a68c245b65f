"""Builds the site of all installed workflows' dashboards: a folder that any static host serves."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dataflow_runtime.config.secrets import mask
from dataflow_runtime.dashboards.model import SITE_SOURCE, Dashboard, DashboardProblem
from dataflow_runtime.dashboards.node import Node, find_node, install, run
from dataflow_runtime.dashboards.project import Project, collect, lay_out, write_skeleton
from dataflow_runtime.errors import DataflowError, UsageError
from dataflow_runtime.settings import get_settings

__all__ = ["VITE", "BuildReport", "build_site", "find_problems", "prepared"]

VITE = ["node", "../../node_modules/vite/bin/vite.js"]
"""The command that runs Vite in Evidence's application."""

Progress = Callable[[str], None]

_NOTICE = re.compile(r"^\[dataflow\] (\{.*\})$", re.MULTILINE)
"""What the site's own JavaScript prints of each problem, and whatever else Evidence prints."""


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
        """Whether something needs to be fixed."""
        return any(dashboard.problems for dashboard in self.dashboards)

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON shape."""
        dashboards = [dashboard.to_json() for dashboard in self.dashboards]
        return {"output": str(self.output), "dashboards": dashboards}


def build_site(
    output: Path | None = None, *, on_progress: Progress = lambda _: None
) -> BuildReport:
    """Build the site from the workflows and warehouses as they are now.

    The last site is replaced when the new one is complete. A broken dashboard is in the report, and
    its page says what is wrong; the others are built.

    Args:
        output: The folder of the site; by default ``$DATAFLOW_HOME/dashboards/site``.
        on_progress: Called with what is being done.

    Raises:
        DataflowError: There is no Node, Evidence cannot be installed, or it failed for a reason
            that is not a dashboard.
        UsageError: A setting is wrong, or `output` holds something else.
    """
    project = Project(get_settings())
    output = (output or project.root.parent / "site").absolute()
    is_site = (output / "api" / "pagesManifest.json").is_file()
    if output.exists() and not is_site and not (output.is_dir() and not any(output.iterdir())):
        hint = "name an empty or a new folder"
        raise UsageError(f"--output {output}: not empty, and not a site", hint=hint)
    with prepared(project, on_progress) as node:
        on_progress("reading the warehouses")
        dashboards = collect(project)
        origins = lay_out(project, dashboards)
        on_progress("checking the pages")
        printed = _node(project, node, "check", ["node", "../../check.mjs"])
        dashboards, _ = find_problems(printed, dashboards, origins)
        lay_out(project, dashboards)
        on_progress(f"building the pages of {len(dashboards)} workflows (a minute or more)")
        for stale in ("build", ".evidence-queries"):
            shutil.rmtree(project.template / stale, ignore_errors=True)
        printed = _node(project, node, "build", [*VITE, "build"])
        dashboards, unrendered = find_problems(printed, dashboards, origins)
        built = project.template / "build"
        # Known only after the pages are built; the home page reads it when it opens.
        names = [dashboard.name for dashboard in dashboards if dashboard.status == "broken"]
        broken = json.dumps({"workflows": names, "pages": unrendered})
        (built / SITE_SOURCE / "broken.json").write_text(broken, encoding="utf-8")
        _publish(built, output)
    return BuildReport(output, dashboards)


@contextmanager
def prepared(project: Project, on_progress: Progress) -> Iterator[Node]:
    """Hold the project, with Evidence installed in it.

    Raises:
        DataflowError: Another process holds it.
        UsageError: A setting is wrong.
    """
    node = find_node()
    project.settings.make_home()
    project.root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(project.root.parent / ".lock").acquire(timeout=0):
            write_skeleton(project)
            if not (project.root / "node_modules").is_dir():
                on_progress(f"installing Evidence into {project.root} (once, a minute or more)")
            install(project.root, node, project.log("npm"))
            yield node
    except Timeout:
        message = f"another `dashboards` command is at work in {project.root.parent}"
        raise DataflowError(message, hint="wait for it to end, or stop it") from None


def _node(project: Project, node: Node, name: str, command: Sequence[str]) -> str:
    """Run a command in Evidence's application; return what it printed.

    Raises:
        DataflowError: It failed.
    """
    log = project.log(name)
    variables = node.environment() | {"EVIDENCE_IS_BUILDING": "true"}
    code = run(command, project.template, variables, log)
    printed = log.read_text(encoding="utf-8", errors="replace")
    if code != 0:
        lines = [line.strip() for line in printed.splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line and not line.startswith("at ")]
        reason = (errors or lines or ["it printed nothing"])[0]
        raise DataflowError(f"Evidence: {mask(reason)}", hint=f"its output: {log}")
    return printed


def find_problems(
    printed: str, dashboards: Sequence[Dashboard], origins: Mapping[str, Path]
) -> tuple[list[Dashboard], list[str]]:
    """Add the problems that the site's JavaScript printed to the dashboards.

    Evidence itself ends with exit code 0 whatever the pages show.

    Args:
        printed: The output of Node.
        dashboards: The dashboards.
        origins: The workflows' own files, by the paths that the problems name.

    Returns:
        The dashboards, and the paths of the pages that could not be rendered.
    """
    problems: dict[str, list[DashboardProblem]] = {}
    unrendered = []
    # A page is rendered more than once.
    for line in dict.fromkeys(_NOTICE.findall(printed)):
        notice = json.loads(line)
        file = origins.get(notice["file"])
        if file is None:
            continue
        _, part, name, *inner = notice["file"].split("/")
        page = "/".join(["", name, *inner[:-1]]) if part == "pages" else None
        message = mask(" ".join(notice["message"].split()))
        problem = DashboardProblem(message, file, page, notice.get("query"))
        problems.setdefault(name, []).append(problem)
        if page and notice.get("unrendered"):
            unrendered.append(page)
    found = [dashboard.broken(*problems.get(dashboard.name, ())) for dashboard in dashboards]
    return found, unrendered


def _publish(built: Path, output: Path) -> None:
    """Replace the last site with the built one, as a whole."""
    new, old = (output.with_name(f".{output.name}.{part}") for part in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(built, new)
    if output.exists():
        output.rename(old)
    new.rename(output)
    shutil.rmtree(old, ignore_errors=True)
