"""Keeps the components of workflows apart: Evidence knows them by file name alone, and of two the later one wins."""

from __future__ import annotations

import re

from dataflow_runtime.dashboards.model import Dashboard

__all__ = ["with_imports"]

_FRONTMATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_SCRIPT = re.compile(r"<script(?![^>]*context=)[^>]*>")


def with_imports(page: str, dashboard: Dashboard) -> str:
    """Return a page that imports the workflow's own components which it uses: what is imported wins over any other.

    Of a component that the page imports itself nothing is changed.
    """
    assert dashboard.folder is not None
    root = dashboard.folder / "components"
    imports = [
        f"import {file.stem} from '$lib/{dashboard.name}/{file.relative_to(root).as_posix()}';"
        for file in sorted(root.rglob("*.svelte"))
        if re.search(rf"<{file.stem}\b", page) and not re.search(rf"\bimport\s+{file.stem}\b", page)
    ]
    if not imports:
        return page
    text = " ".join(imports)
    script = _SCRIPT.search(page)
    if script:
        return f"{page[: script.end()]} {text}{page[script.end() :]}"
    start = found.end() if (found := _FRONTMATTER.match(page)) else 0
    return f"{page[:start]}\n<script> {text} </script>\n\n{page[start:]}"
