"""Compares a checkout with its template: versions behind, files edited or missing, its runtime."""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.fleet.checkouts import Checkout
from dataflow_runtime.fleet.template import Template, render, workers

__all__ = ["Compared", "Drift", "Status", "compare", "find_drift", "with_drift"]


@dataclass(frozen=True)
class Status:
    """One row of ``outdated``; what is unknown is None, and `error` says why.

    Attributes:
        path: The checkout's folder.
        workflow: The workflow's name.
        version: The template's version that it was last rendered at.
        latest: The template's latest version.
        behind: Commits between the two.
        edited: Files that differ from a fresh rendering at `version`, but for accepted ones.
        missing: Files of such a rendering that are not there, but for accepted ones.
        runtime: The runtime that its ``pyproject.toml`` requires: a number, or a range.
        error: Why the rest is unknown.
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


class Drift(NamedTuple):
    """What became of the files that the template rendered, by their path in the checkout."""

    edited: list[str]
    missing: list[str]
    untouched: list[str]


class Compared(NamedTuple):
    """A checkout, its template (None if it cannot be fetched), and how the two compare."""

    checkout: Checkout
    template: Template | None
    status: Status


def compare(
    checkouts: Iterable[Checkout], folder: Path, source: str | None = None
) -> list[Compared]:
    """Compare the version of checkouts with their templates' latest, but not their files.

    Args:
        checkouts: The checkouts.
        folder: Where clones of the templates are kept for the next time.
        source: The template of all checkouts, whatever their answers say; None to follow them.
    """
    fetch = cache(partial(_fetch, folder=folder))  # each template once, whether or not it fails
    return [_compare(checkout, fetch(source or checkout.source)) for checkout in checkouts]


def _fetch(source: str, folder: Path) -> Template | DataflowError:
    try:
        return Template(source, folder)
    except DataflowError as error:
        return error


def _compare(checkout: Checkout, template: Template | DataflowError) -> Compared:
    status = Status(str(checkout.path), checkout.workflow, version=checkout.version or None)
    if checkout.error or not isinstance(template, Template):
        reason = checkout.error or str(template)
        return Compared(checkout, None, replace(status, error=reason))
    try:
        behind = template.behind(checkout.version)
    except DataflowError as error:
        return Compared(checkout, None, replace(status, error=error.message))
    runtime = _runtime(checkout.path, template)
    status = replace(status, latest=template.latest, behind=behind, runtime=runtime)
    return Compared(checkout, template, status)


def with_drift(rows: Sequence[Compared], jobs: int) -> Iterator[Status]:
    """Yield each status with its edited and missing files, `jobs` checkouts at a time."""
    with workers(jobs, [row.template for row in rows if row.template]) as executor:
        yield from executor.map(_add_drift, rows)


def _add_drift(row: Compared) -> Status:
    try:
        if row.template is None:
            return row.status
        accepted = _accepted(row.checkout.path)
        drift = find_drift(row.checkout.path, row.checkout, row.checkout.source)
    except DataflowError as error:
        return replace(row.status, error=error.message)
    edited, missing = (
        [name for name in names if not any(fnmatch(name, pattern) for pattern in accepted)]
        for names in (drift.edited, drift.missing)
    )
    return replace(row.status, edited=edited, missing=missing)


def _accepted(folder: Path) -> list[str]:
    """Return the patterns of files whose drift the owner wants: ``[tool.dataflow] accepted``.

    Raises:
        DataflowError: It is not a list of texts.
    """
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        patterns = tomllib.loads(text).get("tool", {}).get("dataflow", {}).get("accepted", [])
    except (OSError, ValueError):
        return []
    if not isinstance(patterns, list) or not all(isinstance(one, str) for one in patterns):
        raise DataflowError(
            "pyproject.toml: tool.dataflow.accepted: expected a list of files",
            hint='for example accepted = ["README.md", "tests/*"]',
        )
    return patterns


def find_drift(folder: Path, checkout: Checkout, source: str) -> Drift:
    """Compare a folder with a fresh rendering of a checkout's own version.

    Raises:
        DataflowError: It cannot be rendered.
    """
    drift = Drift([], [], [])
    with tempfile.TemporaryDirectory(prefix="dataflow-rendered-") as rendered:
        render(source, checkout.version, checkout.answers, Path(rendered))
        for fresh in sorted(path for path in Path(rendered).rglob("*") if path.is_file()):
            name = fresh.relative_to(rendered)
            try:
                same = _lines(folder / name) == _lines(fresh)
                kind = drift.untouched if same else drift.edited
            except FileNotFoundError:
                kind = drift.missing
            except OSError:  # a folder, or not readable
                kind = drift.edited
            kind.append(name.as_posix())
    return drift


def _lines(file: Path) -> bytes:
    """Return a file's content with the template's line ends: git may have changed them."""
    return file.read_bytes().replace(b"\r\n", b"\n")


def _runtime(folder: Path, template: Template) -> str | None:
    """Return the runtime that a project requires: the number behind a URL, else the range."""
    from packaging.requirements import Requirement

    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lines = [line for line in project["dependencies"] if line.startswith("dataflow-runtime")]
        requirement = Requirement(lines[0])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    if requirement.url is None:
        return str(requirement.specifier) or None
    module, version = "dataflow_runtime/__init__.py", requirement.url.rpartition("@")[2]
    file = Path(url2pathname(urlsplit(requirement.url).path), module)
    text = file.read_text(encoding="utf-8") if file.is_file() else template.show(version, module)
    number = re.search(r'(?m)^__version__ = "([^"]+)"', text)
    return number[1] if number else version
