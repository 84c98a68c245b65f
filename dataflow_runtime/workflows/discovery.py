"""Finds the installed workflows, but imports none of them. Standard library only.

A package advertises its workflows through the entry-point group ``dataflow.workflows``. Their
metadata is read from the literal arguments of `register_workflow` in the syntax tree of the module,
so a broken or hostile package cannot harm a listing. flake8 and npe2 describe plugins before
loading them in the same way.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from dataflow_runtime.errors import FailureKind, UnknownWorkflowError

__all__ = [
    "ENTRY_POINT_GROUP",
    "InstalledWorkflow",
    "advertising_packages",
    "find_workflow",
    "find_workflows",
]

ENTRY_POINT_GROUP = "dataflow.workflows"


@dataclass(frozen=True)
class InstalledWorkflow:
    """A workflow that an installed package advertises, before any of its code is imported.

    Attributes:
        name: The registered name; the entry point's if the decorator's argument is not literal.
        package: The distribution's name.
        version: The distribution's version.
        module: The module that registers it, e.g. ``my_workflow.dagster_job``.
        entry_point: Name of the entry point that advertises it.
        file: Source of that module, None if it cannot be found.
        line: Line of the registration in it.
        metadata: The decorator's literal metadata, None while unknown until loaded.
        error: Why it is broken, where that shows without importing it, else None.
        error_kind: What kind of error that is.
    """

    name: str
    package: str
    version: str
    module: str
    entry_point: str
    file: Path | None = None
    line: int | None = None
    metadata: dict[str, Any] | None = None
    error: str | None = None
    error_kind: FailureKind = FailureKind.IMPORT

    @property
    def directory(self) -> Path | None:
        """The folder of the module, with ``config.yaml``, ``dbt/`` and ``evidence/``."""
        return self.file.parent if self.file else None

    @property
    def config_file(self) -> Path | None:
        """The workflow's ``config.yaml``, whether it exists or not."""
        return self.file.parent / "config.yaml" if self.file else None

    @property
    def place(self) -> str:
        """Package, version, file and line: what every message about this workflow names."""
        where = f"{self.file or self.module}" + (f":{self.line}" if self.line else "")
        return f"{where} ({self.package} {self.version})"


def find_workflows() -> list[InstalledWorkflow]:
    """Return every advertised workflow, sorted by name. A broken one has an `error`.

    The last answer is kept until a folder of ``sys.path`` or a module that was read changes.
    """
    global _last
    stamps, workflows = _last
    if not stamps or stamps != _stamps(workflows):
        workflows = _find()
        # A module that is missing may appear anywhere, so nothing is kept then.
        found = all(workflow.file for workflow in workflows)
        _last = (_stamps(workflows) if found else {}, workflows)
    return list(workflows)


_last: tuple[dict[str, object], list[InstalledWorkflow]] = ({}, [])


def _stamps(workflows: list[InstalledWorkflow]) -> dict[str, object]:
    paths = [*sys.path, *(str(workflow.file) for workflow in workflows)]
    stamps: dict[str, object] = {}
    for path in paths:
        try:
            found = os.stat(path or os.curdir)  # noqa: PTH116 - perf
            stamps[path] = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            stamps[path] = None
    return stamps


def _find() -> list[InstalledWorkflow]:
    found = [workflow for module in _advertised() for workflow in _registered(module)]
    found.sort(key=lambda workflow: (workflow.name, workflow.package))
    claims: dict[str, list[InstalledWorkflow]] = {}
    for workflow in found:
        claims.setdefault(workflow.name, []).append(workflow)
    return [_claimed(workflow, claims[workflow.name]) for workflow in found]


def _claimed(workflow: InstalledWorkflow, claims: list[InstalledWorkflow]) -> InstalledWorkflow:
    """Return the workflow, broken where others claim its name: neither may win silently."""
    others = [other.place for other in claims if other is not workflow]
    if not others:
        return workflow
    error = "; ".join(f"the name is also claimed by {place}" for place in others)
    return replace(workflow, error=error, error_kind=FailureKind.DUPLICATE)


def find_workflow(name: str) -> InstalledWorkflow:
    """Return the advertised workflow of this name.

    Raises:
        UnknownWorkflowError: No installed package advertises it.
    """
    workflows = find_workflows()
    for workflow in workflows:
        if workflow.name == name:
            return workflow
    raise UnknownWorkflowError(name, (workflow.name for workflow in workflows))


def advertising_packages(group: str) -> Iterator[tuple[str, str, Distribution]]:
    """Yield name, version and distribution of each package with entry points of a group."""
    seen = set()
    for distribution in importlib.metadata.distributions():
        # perf: looking for the group's name is several times cheaper than parsing all entry points
        try:
            text = distribution.read_text("entry_points.txt")
        except ValueError:  # not UTF-8
            continue
        if text is None or group not in text:
            continue
        package, version = _name_and_version(distribution)
        if package not in seen:  # else an earlier folder of sys.path has another copy
            seen.add(package)
            yield package, version, distribution


def _advertised() -> Iterator[list[InstalledWorkflow]]:
    """Yield, for each advertised module, the entry points that name it."""
    for package, version, distribution in advertising_packages(ENTRY_POINT_GROUP):
        try:
            entry_points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        except (TypeError, ValueError):
            error = "its entry_points.txt cannot be parsed"
            broken = InstalledWorkflow(package, package, version, module="", entry_point="")
            yield [replace(broken, error=error, error_kind=FailureKind.MISSING)]
            continue
        modules: dict[str, list[InstalledWorkflow]] = {}
        for entry_point in entry_points:
            # EntryPoint.module raises for a value that names no module.
            module = entry_point.value.partition(":")[0].partition("[")[0].strip()
            entry = InstalledWorkflow(
                entry_point.name, package, version, module, entry_point=entry_point.name
            )
            modules.setdefault(module, []).append(entry)
        yield from modules.values()


def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    """Return what the metadata of a distribution says, ``?`` where it says nothing."""
    # Without a METADATA file it is empty, or None where importlib_metadata has been imported.
    about: Any = distribution.metadata  # parsed at each access
    if about is None:
        return "?", "?"
    return about.get("Name") or "?", about.get("Version") or "?"


def _registered(advertised: list[InstalledWorkflow]) -> list[InstalledWorkflow]:
    """Return the workflows that a module registers, as far as its source says."""
    module = advertised[0].module
    if advertised[0].error is not None:
        return advertised
    error, line, kind = "", None, FailureKind.IMPORT
    try:
        spec = _find_spec(module)
        # perf: importing importlib.abc for SourceLoader costs more than listing a small fleet
        read = getattr(spec and spec.loader, "get_source", None)
        source = read(spec.name) if spec and read else None
        if spec is not None and spec.origin is not None and source is not None:
            advertised = [replace(entry, file=Path(spec.origin)) for entry in advertised]
            return _described(advertised, ast.parse(source))
        error, kind = f"module {module!r} of the entry point does not exist", FailureKind.MISSING
    except SyntaxError as raised:
        error, line = f"SyntaxError: {raised.msg}", raised.lineno
    except (RecursionError, MemoryError):  # limits of the parser itself
        error = "nested too deeply to be parsed"
    except (OSError, ImportError, ValueError) as raised:
        error = f"{type(raised).__name__}: {raised}"
    if advertised[0].file is None:
        kind = FailureKind.MISSING
    return [replace(entry, line=line, error=error, error_kind=kind) for entry in advertised]


def _described(advertised: list[InstalledWorkflow], tree: ast.Module) -> list[InstalledWorkflow]:
    """Return the workflows with what the module's calls of `register_workflow` say."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls = [call for call in calls if _is_register_call(call)]
    by_name = {entry.name: entry for entry in advertised}
    found: dict[str, tuple[int, dict[str, Any] | None]] = {}
    for call in calls:
        arguments = {keyword.arg: keyword.value for keyword in call.keywords}
        name = _literal(arguments.get("name"))
        if isinstance(name, str):
            found[name] = (call.lineno, _metadata(arguments))
    unmatched = [entry for entry in advertised if entry.name not in found]
    described = []
    for name, (line, metadata) in found.items():
        # An entry point may have another name than the workflow that it advertises.
        entry = by_name.get(name) or (unmatched.pop(0) if unmatched else advertised[0])
        described.append(replace(entry, name=name, line=line, metadata=metadata))
    if found and len(found) == len(calls):
        error, kind = (
            f"module {advertised[0].module!r} registers no workflow of this name",
            FailureKind.UNREGISTERED,
        )
        unmatched = [replace(entry, error=error, error_kind=kind) for entry in unmatched]
    # Workflows registered by a computed name or by a helper stay unknown until they are loaded.
    return [*described, *unmatched]


def _metadata(arguments: dict[str | None, ast.expr]) -> dict[str, Any] | None:
    if "metadata" not in arguments:
        return None if None in arguments else {}
    metadata = _literal(arguments["metadata"])
    return metadata if isinstance(metadata, dict) else None


def _find_spec(module: str) -> ModuleSpec | None:
    # importlib.util.find_spec("package.module") would import the package.
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        # By its last part: the full name of a namespace package is looked up in sys.modules.
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return spec


def _is_register_call(call: ast.Call) -> bool:
    function = call.func
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", None)
    return name == "register_workflow"


def _literal(node: ast.expr | None) -> Any:
    """Return the value of a literal expression, None for any other."""
    try:
        return ast.literal_eval(node) if node is not None else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
