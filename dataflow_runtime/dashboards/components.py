"""Keeps the components of workflows apart: Evidence knows them by file name, and the later wins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dataflow_runtime.dashboards.model import Dashboard, Problem

__all__ = ["borrowed", "component_owners", "with_imports"]

_FRONTMATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_SCRIPT = re.compile(r"<script(?![^>]*context=)[^>]*>")


def with_imports(page: str, dashboard: Dashboard) -> str:
    """Return a page that imports the workflow's own components: an import wins over other names.

    Of a component that the page imports itself nothing is changed.
    """
    assert dashboard.folder is not None
    root = dashboard.folder / "components"
    imports = [
        f"import {file.stem} from '$lib/{dashboard.name}/{file.relative_to(root).as_posix()}';"
        for file in _components(dashboard)
        if _uses(page, file.stem)
    ]
    if not imports:
        return page
    text = " ".join(imports)
    script = _SCRIPT.search(page)
    if script:
        return f"{page[: script.end()]} {text}{page[script.end() :]}"
    start = found.end() if (found := _FRONTMATTER.match(page)) else 0
    return f"{page[:start]}\n<script> {text} </script>\n\n{page[start:]}"


def component_owners(dashboards: Iterable[Dashboard]) -> dict[str, list[str]]:
    """Return the names of all components, each with the workflows that have one of that name."""
    owners: dict[str, list[str]] = {}
    for dashboard in dashboards:
        for name in sorted({file.stem for file in _components(dashboard)}):
            owners.setdefault(name, []).append(dashboard.name)
    return owners


def borrowed(
    dashboard: Dashboard, owners: Mapping[str, Sequence[str]], core: Path
) -> Iterator[Problem]:
    """Yield a problem for each component of other workflows that a page uses without importing it.

    Evidence would take whichever it comes across.

    Args:
        dashboard: Whose pages to look at.
        owners: What `component_owners` returned.
        core: The folder of Evidence's own components, which win over all that are not imported.
    """
    for page in dashboard.pages():
        assert dashboard.folder is not None
        text = (dashboard.folder / page).read_text(encoding="utf-8")
        for name, workflows in owners.items():
            if (
                dashboard.name not in workflows
                and _uses(text, name)
                and not any(core.rglob(f"{name}.svelte"))
            ):
                named = ", ".join(workflows)
                message = f"<{name}> is a component of {named}: import it in the page"
                yield Problem(message, dashboard.folder / page)


def _components(dashboard: Dashboard) -> list[Path]:
    return sorted(dashboard.folder.glob("components/**/*.svelte")) if dashboard.folder else []


def _uses(page: str, name: str) -> bool:
    """Whether a page uses a component that it does not import."""
    return bool(re.search(rf"<{name}\b", page)) and not re.search(rf"\bimport\s+{name}\b", page)
