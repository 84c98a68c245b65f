"""``workspace``: one Dagster code location per workflow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from dataflow_runtime.cli import options, output
from dataflow_runtime.errors import DataflowError, UsageError

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
def workspace_command(*, file: Path, pythons: Sequence[str]) -> None:
    """Write a Dagster workspace.yaml: a code location, and so a process, per workflow.

    A workflow that cannot be imported, or kills its process, takes no other down.

    \b
    Examples:
      dataflow-runtime workspace && dagster dev -w workspace.yaml
      dataflow-runtime workspace --python orders=/srv/orders/bin/python
    """
    from dataflow_runtime.workflows.discovery import find_workflows

    example = "--python orders=venv/bin/python"
    given = options.key_values(pythons, "--python: expected NAME=PATH", example)
    own = {name: _checked(name, Path(path).expanduser().absolute()) for name, path in given.items()}
    locations = {workflow.name: sys.executable for workflow in find_workflows()} | own
    if not locations:
        hint = "`pip install` one, or name one with --python NAME=PATH"
        raise DataflowError("no workflow is installed", hint=hint)
    if file.is_file() and not file.read_text(encoding="utf-8").startswith(_HEADER):
        message = f"{file} was not written by this command"
        raise DataflowError(message, hint="--file names another one")
    entries = [
        _ENTRY.format(name=json.dumps(name), python=json.dumps(python))
        for name, python in locations.items()
    ]
    file.write_text(f"{_HEADER}load_from:\n{''.join(entries)}", encoding="utf-8")
    output.echo(output.clean(f"{file}: {output.plural(len(locations), 'code location')}"), err=True)


def _checked(name: str, python: Path) -> str:
    """Return a Python that finds the workflow. A link stays: a virtual environment's is one."""
    show = "from dataflow_runtime.cli import main; main()"
    try:
        outcome = subprocess.run(  # noqa: S603 - the user names it
            [python, "-c", show, "show", name], capture_output=True, text=True, check=False
        )
    except OSError as error:
        message = f"--python {name}={python}: {error.strerror}"
        raise UsageError(message, hint="expected a Python executable") from None
    if outcome.returncode:
        reason = (outcome.stderr.strip().splitlines() or ["it failed"])[0].removeprefix("error: ")
        hint = f"install workflow {name!r} in that environment"
        raise UsageError(f"--python {name}={python}: {reason}", hint=hint)
    return str(python)
