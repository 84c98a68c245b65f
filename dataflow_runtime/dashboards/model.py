"""What is known of a workflow's dashboard: its files, its state, what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dataflow_runtime.workflows.discovery import InstalledWorkflow

__all__ = ["SITE_SOURCE", "Dashboard", "Problem"]

SITE_SOURCE = "dataflow_site"
"""Evidence's source of what the site knows of the workflows; any page may query it."""

# A name is a folder, a route of SvelteKit and a schema of DuckDB; the site itself uses some.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN = {"_app", "api", "data", "explore", "settings", SITE_SOURCE}


@dataclass(frozen=True)
class Problem:
    """Something that a dashboard's owner needs to fix.

    Attributes:
        message: What is wrong.
        file: The workflow's own file, None where it is not one file's fault.
        page: The page's path in the site, None where it is not one page's.
        query: The query's name.
    """

    message: str
    file: Path | None = None
    page: str | None = None
    query: str | None = None

    def __str__(self) -> str:
        query = f"query {self.query!r}" if self.query else None
        return ": ".join(
            str(part) for part in (self.file or self.page, query, self.message) if part
        )

    def to_json(self) -> dict[str, str | None]:
        """Return the documented JSON shape."""
        file = str(self.file) if self.file else None
        return {"file": file, "page": self.page, "query": self.query, "message": self.message}


@dataclass(frozen=True)
class Dashboard:
    """One workflow's part of the site.

    Attributes:
        workflow: The workflow.
        status: ``ok``; ``not run``; ``none`` (it has no ``evidence/index.md``); ``broken``, see
            `problems`.
        problems: What is wrong with it.
        rows: Rows in the loaded table, None while there is none.
        rejected: Rows in the table of rejected ones.
        note: What a reader of the site should know of its data.
    """

    workflow: InstalledWorkflow
    status: str = "ok"
    problems: Sequence[Problem] = ()
    rows: int | None = None
    rejected: int | None = None
    note: str | None = None

    @property
    def name(self) -> str:
        """The workflow's name: the name of its page, its source and its folder of components."""
        return self.workflow.name

    @property
    def name_problem(self) -> str | None:
        """Why it can have no page under its name, None where it can."""
        if _NAME.fullmatch(self.name) and self.name.lower() not in _TAKEN:
            return None
        allowed = f"letters, digits and underscores, and none of {', '.join(sorted(_TAKEN))}"
        return f"{self.name!r} cannot be a page's name: allowed are {allowed}"

    @property
    def folder(self) -> Path | None:
        """The workflow's ``evidence/``, None where its package cannot be found."""
        return self.workflow.directory / "evidence" if self.workflow.directory else None

    def pages(self) -> list[Path]:
        """Return its pages, relative to its folder."""
        folder = self.folder
        if folder is None or not folder.is_dir():
            return []
        found = sorted(path.relative_to(folder) for path in folder.rglob("*.md"))
        return [page for page in found if page.parts[0] not in ("components", "sources", "static")]

    def broken(self, *problems: Problem) -> Dashboard:
        """Return the dashboard with problems added, itself where there are none."""
        if not problems:
            return self
        return replace(self, status="broken", problems=(*self.problems, *problems))

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON shape."""
        return {
            "workflow": self.name,
            "status": self.status,
            "rows": self.rows,
            "rejected": self.rejected,
            "note": self.note,
            "problems": [problem.to_json() for problem in self.problems],
        }
