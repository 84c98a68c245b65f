"""Lays out one Evidence project from the ``evidence/`` folders of all installed workflows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from dataflow_runtime.dashboards.export import export
from dataflow_runtime.dashboards.health import collect_facts, write_workflows
from dataflow_runtime.dashboards.model import (
    FRONT_MATTER,
    RESERVED,
    SITE_SOURCE,
    Dashboard,
    DashboardProblem,
)
from dataflow_runtime.errors import UsageError
from dataflow_runtime.settings import Settings
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflows

__all__ = ["Project", "collect", "lay_out", "write_skeleton"]

_SHIPPED = Path(__file__).parent / "site"
_SCRIPT = re.compile(r"<script(?![^>]*context=)[^>]*>")
_HEADER = "WorkflowHeader"

Files = dict[Path, bytes]


@dataclass(frozen=True)
class Project:
    """The Evidence project.

    Attributes:
        settings: Title, theme, base path, and ``DATAFLOW_HOME``, which holds the project.
    """

    settings: Settings

    @property
    def root(self) -> Path:
        """Its folder: the packages and Evidence's settings."""
        return self.settings.home / "dashboards" / "project"

    @property
    def template(self) -> Path:
        """The SvelteKit application that Evidence's packages expect in this place."""
        return self.root / ".evidence" / "template"

    @property
    def data(self) -> Path:
        """The tables: a folder per workflow, in it a folder per query."""
        return self.template / "static" / "data"

    def log(self, name: str) -> Path:
        """Return the file that holds the last output of a tool."""
        return self.root.parent / "logs" / f"{name}.log"


def write_skeleton(project: Project) -> None:
    """Write the list of packages, and what the settings make of Evidence's own settings.

    Raises:
        UsageError: A setting is wrong.
    """
    base = project.settings.dashboards_base_path
    for name in sorted(RESERVED | {workflow.name for workflow in find_workflows()}):
        # Evidence takes a path that begins like the base path for one that has it already.
        if base and (name.startswith(base[1:]) or base.startswith(f"/{name}/")):
            message = f"DATAFLOW_DASHBOARDS_BASE_PATH: {base}: the site itself has /{name}"
            raise UsageError(message, hint="choose another path, such as /reports")
    config = {
        "deployment": {"basePath": base},
        "plugins": {"components": {"@evidence-dev/core-components": {}}},
        **_theme(project.settings.dashboards_theme),
    }
    project.root.mkdir(parents=True, exist_ok=True)
    _write(project.root, Path("evidence.config.yaml"), _json(config))
    for file in _SHIPPED.iterdir():
        if file.is_file():
            _write(project.root, Path(file.name), file.read_bytes())


def _theme(theme: str) -> dict[str, Any]:
    """Return what `dashboards_theme` sets of Evidence's settings."""
    if theme in ("system", "light", "dark"):
        return {"appearance": {"default": theme, "switcher": True}}
    try:
        found = YAML(typ="safe").load(Path(theme).expanduser().read_text(encoding="utf-8"))
    except Exception as error:
        reason = getattr(error, "strerror", None) or "not YAML"
    else:
        if isinstance(found, dict) and set(found) <= {"theme", "appearance"}:
            return {"appearance": {"default": "system", "switcher": True}} | found
        reason = "allowed keys are theme and appearance"
    hint = "allowed: system, light, dark, or a YAML file with Evidence's keys theme and appearance"
    raise UsageError(f"DATAFLOW_DASHBOARDS_THEME: {theme}: {reason}", hint=hint)


def collect(project: Project) -> list[Dashboard]:
    """Read the rows of all installed workflows' dashboards from their warehouses."""
    found = [_dashboard(workflow) for workflow in find_workflows()]
    names = {dashboard.name for dashboard in found} | {SITE_SOURCE}
    for folder in project.data.glob("*/"):
        if folder.name not in names:
            shutil.rmtree(folder)
    return [
        export(dashboard, project.data / dashboard.name) if dashboard.status == "ok" else dashboard
        for dashboard in found
    ]


def _dashboard(workflow: InstalledWorkflow) -> Dashboard:
    dashboard = Dashboard(workflow)
    if workflow.error is not None:
        return dashboard.broken(DashboardProblem(workflow.error, workflow.file))
    pages = dashboard.pages()
    if not pages:
        return replace(dashboard, status="none")
    if Path("index.md") not in pages:
        message = "no index.md: add one, it is the workflow's page"
        return dashboard.broken(DashboardProblem(message, dashboard.folder))
    if dashboard.name_problem:
        return dashboard.broken(DashboardProblem(dashboard.name_problem))
    return dashboard


def lay_out(project: Project, dashboards: Sequence[Dashboard]) -> dict[str, Path]:
    """Bring the application's files up to date; only what differs is written.

    Returns:
        The workflows' own files, by the paths of their copies in the application.
    """
    facts = collect_facts(dashboards, project.settings)
    write_workflows(facts, project.data / SITE_SOURCE)
    evidence = project.root / "node_modules" / "@evidence-dev" / "evidence" / "template"
    wanted = _files(evidence, Path()) | _files(_SHIPPED / "app", Path())
    wanted |= _written_files(project, facts)
    origins: dict[str, Path] = {}
    for dashboard in dashboards:
        if dashboard.status == "ok":
            for path, file in _own_files(dashboard):
                wanted[path] = file.read_bytes()
                origins[path.as_posix()] = file
                if path.name == "+page.md":
                    wanted[path] = _page(dashboard, file).encode()
        elif not dashboard.name_problem:
            path = Path("src", "pages", dashboard.name, "+page.md")
            wanted[path] = _page(dashboard, None).encode()
    _replace(project.template, wanted)
    return origins


def _files(folder: Path, target: Path) -> Files:
    """Return the files of a folder, below `target`."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {target / file.relative_to(folder): file.read_bytes() for file in files}


def _written_files(project: Project, facts: Sequence[Mapping[str, Any]]) -> Files:
    """Return what the pages read as JSON."""
    tables: dict[str, list[str]] = {}
    for file in sorted(project.data.glob("*/*/*/*.parquet")):
        path = file.relative_to(project.template).as_posix()
        tables.setdefault(file.parents[2].name, []).append(path)
    site = {
        "title": project.settings.dashboards_title,
        "workflows": [{**fact, "problems": []} for fact in facts],
    }
    broken = [fact["workflow"] for fact in facts if fact["dashboard"] == "broken"]
    own = Path("src", "components", SITE_SOURCE)
    files = {
        Path("static", "data", "manifest.json"): _json({"renderedFiles": tables}),
        Path("static", SITE_SOURCE, "broken.json"): _json({"workflows": broken, "pages": []}),
        own / "site.json": _json(site),
        own / "tables.json": _json(tables),
    }
    for fact in facts:
        files[own / "workflows" / f"{fact['workflow']}.json"] = _json(fact)
    not_found = (_SHIPPED / "app" / "static" / "404.html").read_text(encoding="utf-8")
    base = project.settings.dashboards_base_path
    files[Path("static", "404.html")] = not_found.replace("%base%", base).encode()
    return files


def _own_files(dashboard: Dashboard) -> Iterator[tuple[Path, Path]]:
    """Yield where each of a workflow's pages, components and static files belongs, and the file."""
    for page in dashboard.pages():
        folder = page.parent if page.stem == "index" else page.with_suffix("")
        yield Path("src", "pages", dashboard.name, folder, "+page.md"), dashboard.folder / page
    targets = {"components": Path("src", "components"), "static": Path("static")}
    for part, target in targets.items():
        for file in (dashboard.folder / part).rglob("*"):
            if file.is_file():
                yield target / dashboard.name / file.relative_to(dashboard.folder / part), file


def _page(dashboard: Dashboard, file: Path | None) -> str:
    """Return a page with its title, the workflow's header, and imports of its components.

    Evidence finds components by file name alone, and of two with one name it takes the last. An
    import wins.

    Args:
        dashboard: The workflow's dashboard.
        file: The workflow's own page, None for a page that only says why there is none.
    """
    text = file.read_text(encoding="utf-8") if file else ""
    title = dashboard.page_title(file.relative_to(dashboard.folder)) if file else dashboard.title
    front = FRONT_MATTER.match(text)
    body = text[front.end() :] if front else text
    settings = re.sub(r"^title:.*\n", "", front[0][4:-4] if front else "", flags=re.MULTILINE)
    imports = [
        f"import {_HEADER} from '$lib/{SITE_SOURCE}/{_HEADER}.svelte';",
        f"import workflowFacts from '$lib/{SITE_SOURCE}/workflows/{dashboard.name}.json';",
        *_component_imports(body, dashboard),
    ]
    script = _SCRIPT.search(body)
    if script is None:
        body = f"<script></script>\n\n{body}"
    at = script.end() if script else len("<script>")
    body = f"{body[:at]} {' '.join(imports)}{body[at:]}"
    header = f"<{_HEADER} workflow={{workflowFacts}} />"
    return f"---\ntitle: {json.dumps(title)}\n{settings}---\n\n{header}\n\n{body}"


def _component_imports(body: str, dashboard: Dashboard) -> Iterator[str]:
    root = dashboard.folder / "components"
    for file in sorted(root.rglob("*.svelte")):
        name = file.stem
        if re.search(rf"<{name}\b", body) and not re.search(rf"\bimport\s+{name}\b", body):
            path = file.relative_to(root).as_posix()
            yield f"import {name} from '$lib/{dashboard.name}/{path}';"


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=1).encode()


def _replace(root: Path, wanted: Files) -> None:
    """Make the application consist of these files and the tables."""
    for folder in ("src", "static"):
        for path in sorted((root / folder).rglob("*"), reverse=True):
            inner = path.relative_to(root)
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
            elif path.is_file() and inner not in wanted and inner.parts[:2] != ("static", "data"):
                path.unlink()
    for inner, content in wanted.items():
        _write(root, inner, content)


def _write(root: Path, path: Path, content: bytes) -> None:
    target = root / path
    if target.is_file() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # `dev` compiles a file as soon as it changes, so it must never see half of one.
    draft = root / "draft"
    draft.write_bytes(content)
    draft.replace(target)
