"""``workspace``: one Dagster code location per workflow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click

from dataflow_runtime.cli.options import assignments
from dataflow_runtime.cli.output import clean, echo, plural
from dataflow_runtime.errors import DataflowError, UsageError
from dataflow_runtime.workflows.discovery import find_workflows

__all__ = ["workspace_command"]

_HEADER = (
    "# Written by `dataflow-runtime workspace`: one code location per workflow, each in a process"
    " of its own.\n"
)

_ENTRY = """\
  - python_module:
      module_name: "dataflow_runtime.code_location"
      attribute: {name}
      location_name: {name}
      executable_path: {python}
"""

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
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    default="workspace.yaml",
    show_default=True,
    help="File to write.",
)
@click.option(
    "pythons",
    "--python",
    metavar="NAME=PATH",
    multiple=True,
    help="Python of one workflow, where that is installed; by default this one.",
)
def workspace_command(*, file: Path, pythons: tuple[str, ...]) -> None:
    """Write a Dagster workspace.yaml: a code location, and so a process, per workflow.

    A workflow that cannot be imported, or kills its process, takes no other down.

    \b
    Examples:
      dataflow-runtime workspace && dagster dev -w workspace.yaml
      dataflow-runtime workspace --python orders=/srv/orders/bin/python
    """
    example = "--python orders=venv/bin/python"
    given = assignments(pythons, what="--python", example=example, form="NAME=PATH")
    own = {name: _checked(name, Path(path).expanduser().absolute()) for name, path in given.items()}
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
    entries = [
        _ENTRY.format(name=json.dumps(name), python=json.dumps(python))
        for name, python in locations.items()
    ]
    file.write_text(f"{_HEADER}load_from:\n{''.join(entries)}", encoding="utf-8")
    echo(clean(f"{file}: {plural(len(locations), 'code location')}"), err=True)


def _checked(name: str, python: Path) -> str:
    """Return a Python that finds the workflow. A link stays: a virtual environment's is one."""
    try:
        outcome = subprocess.run(  # noqa: S603 - the user names it
            [python, "-c", _FIND, name], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise UsageError(
            f"--python {name}={python}: {error.strerror}", hint="expected a Python executable"
        ) from None
    if outcome.returncode:
        reason = (outcome.stderr.strip().splitlines() or ["it failed"])[-1]
        raise UsageError(
            f"--python {name}={python}: {reason}",
            hint=f"install workflow {name!r} in that environment",
        )
    return str(python)
