"""Lays out one Evidence project from the ``evidence/`` folders of all installed workflows."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from dataflow_runtime.dashboards.components import borrowed, component_owners, with_imports
from dataflow_runtime.dashboards.export import export
from dataflow_runtime.dashboards.home import home_page, placeholder, write_tables
from dataflow_runtime.dashboards.model import SITE_SOURCE, Dashboard, Problem
from dataflow_runtime.errors import UsageError
from dataflow_runtime.settings import Settings
from dataflow_runtime.workflows.discovery import InstalledWorkflow, find_workflows

__all__ = ["Site", "collect", "lay_out", "source_files", "write_skeleton"]

# `evidence sources` runs in the project, `evidence dev` in its .evidence/template.
_SEARCH_PATH = "set file_search_path = '.,../..';\n"
_CONNECTION = "name: {name}\ntype: duckdb\noptions:\n  filename: ':memory:'\n"


@dataclass(frozen=True)
class Site:
    """The Evidence project.

    Attributes:
        folder: Its root, below ``DATAFLOW_HOME``.
        settings: Title, theme and base path.
    """

    folder: Path
    settings: Settings

    @classmethod
    def of(cls, settings: Settings) -> Site:
        """Return the project of these settings."""
        return cls(settings.home / "dashboards" / "project", settings)

    @property
    def data(self) -> Path:
        """The rows read from the warehouses: a folder per workflow, a Parquet file per query."""
        return self.folder / "data"

    @property
    def rendered_data(self) -> Path:
        """The rows as Evidence has taken them up."""
        return self.folder / ".evidence" / "template" / "static" / "data"


def collect(site: Site) -> list[Dashboard]:
    """Read the rows of all dashboards from the warehouses; return the dashboards by name."""
    dashboards = [_dashboard(workflow) for workflow in find_workflows()]
    for stale in _folders(site.data) - {dashboard.name for dashboard in dashboards} - {SITE_SOURCE}:
        shutil.rmtree(site.data / stale)
    owners = component_owners(dashboards)
    core = site.folder / "node_modules" / "@evidence-dev" / "core-components" / "dist"
    return [
        export(dashboard, site.data / dashboard.name).broken(*borrowed(dashboard, owners, core))
        if dashboard.status == "ok"
        else dashboard
        for dashboard in dashboards
    ]


def lay_out(site: Site, dashboards: Sequence[Dashboard]) -> None:
    """Bring the project's files up to date; only what differs is written."""
    write_tables(dashboards, site.data / SITE_SOURCE)
    wanted = dict(_site_files(site, dashboards))
    for folder in ("pages", "components", "sources", "static"):
        _update(
            site.folder,
            folder,
            {path: text for path, text in wanted.items() if path.parts[0] == folder},
        )


def source_files(data: Path, name: str) -> Iterator[tuple[Path, str]]:
    """Yield the files of an Evidence source that reads the Parquet files of a folder of `data`."""
    source = Path("sources", name)
    yield source / "connection.yaml", _CONNECTION.format(name=name)
    for file in sorted((data / name).glob("*.parquet")):
        # The digest: Evidence reads a source anew, in a page that is open, when its text changes.
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        query = f"select * from read_parquet('{data.name}/{name}/{file.name}') -- {digest}\n"  # noqa: S608 - file names
        yield source / f"{file.stem}.sql", _SEARCH_PATH + query


def _dashboard(workflow: InstalledWorkflow) -> Dashboard:
    dashboard = Dashboard(workflow)
    if workflow.error is not None:
        return dashboard.broken(Problem(workflow.error, workflow.file))
    if not dashboard.pages():
        return replace(dashboard, status="none")
    if Path("index.md") not in dashboard.pages():
        return dashboard.broken(Problem("no index.md: the page of the workflow", dashboard.folder))
    return (
        dashboard.broken(Problem(dashboard.name_problem)) if dashboard.name_problem else dashboard
    )


def _site_files(site: Site, dashboards: Sequence[Dashboard]) -> Iterator[tuple[Path, str | bytes]]:
    """Yield every file of the project that is made of workflows: its path and content."""
    yield Path("pages", "+layout.svelte"), _layout(site.settings.dashboards_title)
    yield Path("pages", "index.md"), home_page(site.settings.dashboards_title)
    yield from source_files(site.data, SITE_SOURCE)
    yield from ((path, content) for path, content in _shipped() if len(path.parts) > 1)
    for dashboard in dashboards:
        if dashboard.name_problem:
            continue
        if dashboard.status != "ok":
            yield Path("pages", dashboard.name, "index.md"), placeholder(dashboard)
            continue
        assert dashboard.folder is not None
        yield from source_files(site.data, dashboard.name)
        for page in dashboard.pages():
            text = (dashboard.folder / page).read_text(encoding="utf-8")
            yield Path("pages", dashboard.name) / page, with_imports(text, dashboard)
        for part in ("components", "static"):
            for file in sorted(
                path for path in (dashboard.folder / part).rglob("*") if path.is_file()
            ):
                inner = file.relative_to(dashboard.folder / part)
                yield Path(part, dashboard.name) / inner, file.read_bytes()


def write_skeleton(site: Site) -> None:
    """Write the files that are the same for every site, and those that the settings make."""
    site.folder.mkdir(parents=True, exist_ok=True)
    for path, content in _shipped():
        if len(path.parts) == 1:
            _write(site.folder, path, content)
    config: dict[str, Any] = {
        "deployment": {"basePath": site.settings.dashboards_base_path},
        "appearance": {"default": "system", "switcher": True},
        "plugins": {
            "components": {"@evidence-dev/core-components": {}},
            "datasources": {"@evidence-dev/duckdb": {}},
        },
    }
    _write(
        site.folder,
        Path("evidence.config.yaml"),
        json.dumps(config | _theme(site.settings), indent=2).encode(),
    )


def _shipped() -> Iterator[tuple[Path, bytes]]:
    """Yield the files that ship with the runtime: path in the project and content."""
    with as_file(files(__package__) / "site") as folder:
        for file in folder.rglob("*"):
            if file.is_file():
                yield file.relative_to(folder), file.read_bytes()


def _theme(settings: Settings) -> dict[str, Any]:
    """Return what `dashboards_theme` sets of Evidence's settings.

    Raises:
        UsageError: It is neither a known word nor a file with a theme.
    """
    theme = settings.dashboards_theme
    if theme in ("system", "light", "dark"):
        return {"appearance": {"default": theme, "switcher": True}}
    try:
        found = YAML(typ="safe").load(Path(theme).expanduser().read_text(encoding="utf-8"))
    except Exception as error:
        reason = getattr(error, "strerror", None) or "is no YAML"
        hint = (
            "allowed: system, light, dark, or a YAML file with Evidence's keys theme and appearance"
        )
        raise UsageError(f"DATAFLOW_DASHBOARDS_THEME: {theme}: {reason}", hint=hint) from error
    if not isinstance(found, dict) or not set(found) <= {"theme", "appearance"}:
        raise UsageError(
            f"DATAFLOW_DASHBOARDS_THEME: {theme}: allowed keys are theme and appearance"
        )
    return found


def _layout(title: str) -> str:
    text = json.dumps(title).replace("<", "\\u003c")
    return f"""<script>
	import '@evidence-dev/tailwind/fonts.css';
	import '../app.css';
	import {{ EvidenceDefaultLayout }} from '@evidence-dev/core-components';
	export let data;
</script>

<EvidenceDefaultLayout
    {{data}} title={{{text}}} homePageName="Workflows" builtWithEvidence={{false}}
>
	<slot slot="content" />
</EvidenceDefaultLayout>
"""


def _update(root: Path, folder: str, wanted: Mapping[Path, str | bytes]) -> None:
    """Make a folder hold exactly the wanted files; one with the same content is not touched."""
    for path in sorted(root.joinpath(folder).rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(root) not in wanted:
            path.unlink()
    for path, content in wanted.items():
        _write(root, path, content if isinstance(content, bytes) else content.encode("utf-8"))


def _write(root: Path, path: Path, content: bytes) -> None:
    target = root / path
    if target.is_file() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Whole, and not from a draft beside it: Evidence takes up at once what it sees in its folders.
    draft = root / "draft"
    draft.write_bytes(content)
    draft.replace(target)


def _folders(folder: Path) -> set[str]:
    return (
        {child.name for child in folder.iterdir() if child.is_dir()} if folder.is_dir() else set()
    )
