"""How a checkout stands to its template: versions behind, files edited or missing, and the runtime it asks for."""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.fleet.checkouts import Checkout
from dataflow_runtime.fleet.template import TemplateRepository, Templates, runtime_number

__all__ = ["Status", "status_of", "statuses"]


@dataclass(frozen=True)
class Status:
    """One row of ``outdated``; what cannot be told is None, and `error` says why.

    Attributes:
        path: The checkout's folder.
        workflow: The workflow's name.
        version: The template's version that it was last rendered at.
        latest: The template's latest version.
        behind: Commits between the two.
        edited: Files that differ from a fresh rendering at `version`.
        missing: Files of such a rendering that are not there.
        runtime: The runtime that its ``pyproject.toml`` asks for: a number, or what the package index may give.
        error: Why the rest is not known.
    """

    path: str
    workflow: str
    version: str | None = None
    latest: str | None = None
    behind: int | None = None
    edited: list[str] | None = None
    missing: list[str] | None = None
    runtime: str | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON shape."""
        return asdict(self)


def statuses(checkouts: Iterable[Checkout], templates: Templates) -> list[Status]:
    """Return the status of each checkout."""
    return [status_of(checkout, templates) for checkout in checkouts]


def status_of(checkout: Checkout, templates: Templates) -> Status:
    """Return how a checkout stands to its template; never raises, its `error` says what is wrong."""
    known: dict[str, Any] = {"version": checkout.commit or None}
    error = checkout.error
    if error is None:
        try:
            template = templates.of(checkout.source)
            known |= {"latest": template.latest, "behind": template.behind(checkout.commit)}
            known |= {"runtime": _runtime(checkout, template)}
            known["edited"], known["missing"] = _drift(checkout, template)
        except DataflowError as found:
            error = found.message
        except Exception as found:
            # Copier and Jinja raise what they like for answers that were edited by hand; the other rows go on.
            lines = str(found).splitlines()
            error = (
                f"its answers cannot be rendered: {lines[-1] if lines else type(found).__name__}"
            )
    return Status(str(checkout.path), checkout.workflow, **known, error=error)


def _drift(checkout: Checkout, template: TemplateRepository) -> tuple[list[str], list[str]]:
    """Return the files that differ from a fresh rendering of the checkout's own version, and those not there."""
    edited, missing = [], []
    with tempfile.TemporaryDirectory(prefix="dataflow-rendered-") as folder:
        template.renderer(checkout.commit).render(checkout.answers or {}, Path(folder))
        for fresh in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            name = fresh.relative_to(folder)
            try:
                if _lines(checkout.path / name) != _lines(fresh):
                    edited.append(name.as_posix())
            except FileNotFoundError:
                missing.append(name.as_posix())
            except OSError:  # a folder, or not readable
                edited.append(name.as_posix())
    return edited, missing


def _lines(file: Path) -> bytes:
    """Return a file's content with the line ends of the template: git may have changed them on its way out."""
    return file.read_bytes().replace(b"\r\n", b"\n")


def _runtime(checkout: Checkout, template: TemplateRepository) -> str | None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        project = tomllib.loads((checkout.path / "pyproject.toml").read_text(encoding="utf-8"))[
            "project"
        ]
        requirements = [Requirement(line) for line in project["dependencies"]]
    except (OSError, ValueError, KeyError, TypeError, InvalidRequirement):
        return None
    for requirement in requirements:
        if re.sub(r"[-_.]+", "-", requirement.name).lower() != "dataflow-runtime":
            continue
        if requirement.url is None:
            return str(requirement.specifier) or None
        if requirement.url.startswith("git+"):
            version = requirement.url.rpartition("@")[2]
            return template.runtime_at(version) or version
        folder = Path(url2pathname(urlsplit(requirement.url).path))
        module = folder / "dataflow_runtime" / "__init__.py"
        return runtime_number(module.read_text(encoding="utf-8")) if module.is_file() else None
    return None
