"""``workspace``: one Dagster code location per workflow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click

from dataflow_runtime.errors import DataflowError, UsageError
from dataflow_runtime.workflows.discovery import find_workflows

__all__ = ["workspace_command"]

_HEADER = "# Written by `dataflow-runtime workspace`: one code location per workflow, each in a process of its own.\n"

_FIND = """
import sys
from dataflow_runtime.workflows.discovery import find_workflow
from dataflow_runtime.errors import DataflowError
try:
    find_workflow(sys.argv[1])
except DataflowError as error:
    sys.exit(error.message)
"""


@click.command("workspace")
@click.option(
    "--file", type=click.Path(dir_okay=False, path_type=Path), default="workspace.yaml", show_default=True,
    help="File to write.",
)  # fmt: skip
@click.option(
    "pythons", "--python", metavar="NAME=PATH", multiple=True,
    help="Python that a workflow runs with, by default this one; the workflow is installed there.",
)  # fmt: skip
def workspace_command(*, file: Path, pythons: tuple[str, ...]) -> None:
    """Write a Dagster workspace.yaml: a code location, and thereby a process, per workflow.

    A workflow that cannot be imported, or kills its process, takes no other down: `dagster dev -w workspace.yaml`.
    """
    own = dict(map(_python, pythons))
    locations = {workflow.name: sys.executable for workflow in find_workflows()} | own
    if not locations:
        raise DataflowError(
            "no workflow is installed",
            hint="`pip install` one, or name one with --python NAME=PATH",
        )
    if file.is_file() and not file.read_text(encoding="utf-8").startswith(_HEADER):
        raise DataflowError(
            f"{file} was not written by this command", hint="--file names another one"
        )
    file.write_text(
        _HEADER + "load_from:\n" + "".join(map(_entry, locations, locations.values())),
        encoding="utf-8",
    )
    click.echo(f"{file}: {len(locations)} code locations", err=True)


def _entry(name: str, python: str) -> str:
    values = {
        "module_name": "dataflow_runtime.code_location",
        "attribute": name,
        "location_name": name,
        "executable_path": python,
    }
    return "  - python_module:\n" + "".join(
        f"      {key}: {json.dumps(value)}\n" for key, value in values.items()
    )


def _python(text: str) -> tuple[str, str]:
    """Return name and Python of a ``NAME=PATH``, once that Python has found the workflow (but not imported it)."""
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise UsageError(
            f"--python {text!r}: expected NAME=PATH",
            hint="for example --python orders=venv/bin/python",
        )
    python = (
        Path(path).expanduser().absolute()
    )  # not resolved: a virtual environment's Python is a link
    try:
        outcome = subprocess.run(  # noqa: S603 - the user names it
            [python, "-c", _FIND, name], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise UsageError(
            f"--python {text}: {error.strerror}", hint="PATH is a Python executable"
        ) from None
    if outcome.returncode:
        reason = (outcome.stderr.strip().splitlines() or ["it failed"])[-1]
        raise UsageError(
            f"--python {text}: {reason}", hint=f"install workflow {name!r} in that environment"
        )
    return name, str(python)
