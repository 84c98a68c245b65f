"""A workflow's dashboard: its files, its state, its problems."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dataflow_runtime.workflows.discovery import InstalledWorkflow

__all__ = ["FRONT_MATTER", "RESERVED", "SITE_SOURCE", "Dashboard", "DashboardProblem"]

SITE_SOURCE = "dataflow_site"
"""Schema of the table about the workflows themselves; any page may query it."""

RESERVED = frozenset({"_app", "api", "data", "explore", "settings", SITE_SOURCE})
"""Paths of the site that no workflow can have as its name."""

FRONT_MATTER = re.compile(r"\A---\r?\n(?:.*\r?\n)*?---\r?\n")
"""The settings at the start of a page."""

# A name is a folder, a route of SvelteKit and a schema of DuckDB.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TITLE = re.compile(r"^title:[ \t]*(\S.*?)[ \t]*\r?$", re.MULTILINE)
_NOT_PAGES = ("components", "sources", "static")


@dataclass(frozen=True)
class DashboardProblem:
    """Something that the owner of a dashboard needs to fix.

    Attributes:
        message: What is wrong.
        file: The workflow's own file, None if the problem is not in one file.
        page: The page's path in the site, None if the problem is not on one page.
        query: The query's name.
    """

    message: str
    file: Path | None = None
    page: str | None = None
    query: str | None = None

    def __str__(self) -> str:
        place = self.file or self.page
        parts = (place and str(place), self.query and f"query {self.query!r}", self.message)
        return ": ".join(part for part in parts if part)

    def to_json(self) -> dict[str, str | None]:
        """Return the documented JSON shape."""
        file = str(self.file) if self.file else None
        return {"file": file, "page": self.page, "query": self.query, "message": self.message}


@dataclass(frozen=True)
class Dashboard:
    """One workflow's part of the site.

    Attributes:
        workflow: The workflow.
        status: ``ok``, ``not run``, ``unread`` (see `unread`, and no build before has read it),
            ``none`` (no ``evidence/``) or ``broken`` (see `problems`).
        problems: What the owner needs to fix.
        warnings: What the owner should know; the dashboard is built all the same.
        rows: Rows in the loaded table, None if it does not exist.
        rejected: Rows in the table of rejected rows, None if it does not exist.
        timezone: Time zone of the workflow's schedule.
        max_age: Age of the last run at which the workflow is late, None for no such age.
        unread: Why this build could not read the warehouse, None if it did.
        as_of: When the rows were read, None if there are none.
        rejected_before: The share of rejected rows about a week before, None if unknown.
    """

    workflow: InstalledWorkflow
    status: str = "ok"
    problems: Sequence[DashboardProblem] = ()
    warnings: Sequence[str] = ()
    rows: int | None = None
    rejected: int | None = None
    timezone: str = "UTC"
    max_age: timedelta | None = None
    unread: str | None = None
    as_of: datetime | None = None
    rejected_before: float | None = None

    @property
    def name(self) -> str:
        """The workflow's name: also that of its page, its schema and its folder of components."""
        return self.workflow.name

    @property
    def name_problem(self) -> str | None:
        """Why no page can have the workflow's name, None if one can."""
        if _NAME.fullmatch(self.name) and self.name.lower() not in RESERVED:
            return None
        allowed = f"letters, digits and underscores, and none of {', '.join(sorted(RESERVED))}"
        return f"{self.name!r} cannot be the name of a page: allowed are {allowed}"

    @property
    def folder(self) -> Path:
        """The workflow's ``evidence/``, which need not exist."""
        return (self.workflow.directory or Path("/nonexistent")) / "evidence"

    @property
    def title(self) -> str:
        """The title of the workflow's page."""
        return self.page_title(Path("index.md"))

    @property
    def rejected_share(self) -> float | None:
        """The share of rejected rows, None if there are no rows."""
        total = (self.rows or 0) + (self.rejected or 0)
        return (self.rejected or 0) / total if total else None

    @property
    def note(self) -> str | None:
        """What a reader should know about the rows."""
        if self.unread is None:
            return None
        rows = f"rows as of {self.as_of:%Y-%m-%d %H:%M} UTC" if self.as_of else "not read"
        return f"{rows}: {self.unread}"

    def pages(self) -> list[Path]:
        """Return the paths of the pages, relative to `folder`."""
        found = sorted(path.relative_to(self.folder) for path in self.folder.rglob("*.md"))
        return [page for page in found if page.parts[0] not in _NOT_PAGES]

    def page_title(self, page: Path) -> str:
        """Return the title that a page sets, else its name in words."""
        name = self.name if page.stem == "index" else page.stem
        file = self.folder / page
        front = FRONT_MATTER.match(file.read_text(encoding="utf-8")) if file.is_file() else None
        found = _TITLE.search(front[0]) if front else None
        title = found[1].strip("'\"") if found else name
        # Release 0.3 rendered the name as the title.
        return title if title != name else name.replace("_", " ").strip().capitalize()

    def broken(self, *problems: DashboardProblem) -> Dashboard:
        """Return the dashboard with these problems added."""
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
            "warnings": list(self.warnings),
            "problems": [problem.to_json() for problem in self.problems],
        }
