"""Static discovery: finds the installed workflows (but imports none of them). Standard library only.

A workflow package advertises itself through the entry-point group ``dataflow.workflows``; what it says of itself is
read from the literal arguments of `register_workflow` in the advertised module's syntax tree. A broken or hostile
package can therefore not harm a listing. The idea of plugins described before they are loaded is flake8's and npe2's.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from dataflow_runtime.errors import UnknownWorkflowError

__all__ = ["ENTRY_POINT_GROUP", "InstalledWorkflow", "find_workflow", "find_workflows"]

ENTRY_POINT_GROUP = "dataflow.workflows"


@dataclass(frozen=True)
class InstalledWorkflow:
    """A workflow that an installed package advertises, before anything of it is imported.

    Attributes:
        name: The registered name; the entry point's where the decorator's argument is not a literal.
        package: The distribution's name.
        version: The distribution's version.
        module: The module that registers it, e.g. ``my_workflow.dagster_job``.
        entry_point: Name of the entry point that advertises it.
        file: Source of that module, None if it cannot be found.
        line: Line of the registration in it.
        metadata: The decorator's literal metadata, None while unknown until loaded.
        error: Why it can be seen to be broken without importing it, else None.
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

    @property
    def directory(self) -> Path | None:
        """The folder of the registering module, in which ``config.yaml``, ``dbt/`` and ``evidence/`` stand."""
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
    """Return every advertised workflow, sorted by name. A broken one is in the list, with its `error`."""
    found = [workflow for module in _advertised() for workflow in _registered(module)]
    found.sort(key=lambda workflow: (workflow.name, workflow.package))
    claims: dict[str, list[InstalledWorkflow]] = {}
    for workflow in found:
        claims.setdefault(workflow.name, []).append(workflow)
    # No silent winner: which of two workflows a name means is for their owners to say.
    return [
        replace(
            workflow,
            error="; ".join(f"the name is also claimed by {other.place}" for other in others),
        )
        if (others := [other for other in claims[workflow.name] if other is not workflow])
        else workflow
        for workflow in found
    ]


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


def _advertised() -> Iterator[list[InstalledWorkflow]]:
    """Yield, for each advertised module, the entry points that name it."""
    seen = set()
    for distribution in importlib.metadata.distributions():
        # Looking for the group's name is several times cheaper than parsing every package's entry points.
        try:
            text = distribution.read_text("entry_points.txt")
        except ValueError:  # not UTF-8
            continue
        if text is None or ENTRY_POINT_GROUP not in text:
            continue
        about = distribution.metadata  # parsed at each access
        package, version = about["Name"] or "?", about["Version"] or "?"
        if package in seen:  # shadowed by an earlier folder of sys.path
            continue
        seen.add(package)
        modules: dict[str, list[InstalledWorkflow]] = {}
        try:
            entry_points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        except (TypeError, ValueError):
            problem = "its entry_points.txt cannot be parsed"
            yield [
                InstalledWorkflow(
                    package, package, version, module="", entry_point="", error=problem
                )
            ]
            continue
        for entry_point in entry_points:
            # EntryPoint.module raises for a value that names no module.
            module = entry_point.value.partition(":")[0].partition("[")[0].strip()
            modules.setdefault(module, []).append(
                InstalledWorkflow(
                    entry_point.name, package, version, module, entry_point=entry_point.name
                )
            )
        yield from modules.values()


def _registered(advertised: list[InstalledWorkflow]) -> list[InstalledWorkflow]:
    """Return the workflows that a module registers, as far as its source says; what it does not say stays unknown."""
    module = advertised[0].module
    if advertised[0].error is not None:
        return advertised
    try:
        spec = _find_spec(module)
        # importlib.abc's class of loaders with a source costs more to import than all listing of a small fleet.
        read = getattr(spec and spec.loader, "get_source", None)
        source = read(spec.name) if spec and read else None
        if spec is None or spec.origin is None or source is None:
            return [
                replace(entry, error=f"module {module!r} of the entry point does not exist")
                for entry in advertised
            ]
        advertised = [replace(entry, file=Path(spec.origin)) for entry in advertised]
        tree = ast.parse(source)
    except SyntaxError as error:
        return [
            replace(entry, line=error.lineno, error=f"SyntaxError: {error.msg}")
            for entry in advertised
        ]
    except (RecursionError, MemoryError):  # of the parser, at a limit of its own
        return [replace(entry, error="nested too deeply to be parsed") for entry in advertised]
    except (OSError, ImportError, ValueError) as error:
        return [replace(entry, error=f"{type(error).__name__}: {error}") for entry in advertised]
    calls = [
        (_literal(arguments.get("name")), call.lineno, _metadata(arguments))
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and _is_register_call(call)
        for arguments in [{keyword.arg: keyword.value for keyword in call.keywords}]
    ]
    literal = [call for call in calls if isinstance(call[0], str)]
    by_name = {entry.name: entry for entry in advertised}
    unmatched = [
        entry for entry in advertised if entry.name not in {name for name, _, _ in literal}
    ]
    described = [
        # An entry point may go by another name than the workflow that it advertises.
        replace(
            by_name.get(name) or (unmatched.pop(0) if unmatched else advertised[0]),
            name=name,
            line=line,
            metadata=metadata,
        )
        for name, line, metadata in literal
    ]
    if literal and len(literal) == len(calls):
        problem = f"module {module!r} registers no workflow of this name"
        unmatched = [replace(entry, error=problem) for entry in unmatched]
    # What is registered without a literal name, or through a helper, stays unknown until loaded.
    return [*described, *unmatched]


def _metadata(arguments: dict[str | None, ast.expr]) -> dict[str, Any] | None:
    if "metadata" not in arguments:
        return None if None in arguments else {}
    metadata = _literal(arguments["metadata"])
    return metadata if isinstance(metadata, dict) else None


def _find_spec(module: str) -> ModuleSpec | None:
    # importlib.util.find_spec("package.module") would import the package; only the first part may be looked up by it.
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        # By its last part: a namespace package looks its parent up in sys.modules, where nothing of it is.
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
