"""A run reads the configuration of its workflow once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "example_workflow" / "src" / "example_workflow"

# Records who opens a config.yaml, in every process that is started.
HOOK = """\
import os, sys
from pathlib import Path

def record(event, arguments):
    if event == "open" and str(arguments[0]).endswith("config.yaml"):
        line = f"{os.getpid()} {arguments[0]}\\n"
        descriptor = os.open(os.environ["OPENED"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(descriptor, line.encode())
        os.close(descriptor)

sys.addaudithook(record)
"""


@pytest.mark.e2e
@pytest.mark.parametrize(
    "options", [(), ("--set", "source.type=mock", "--set", "source.mock.rows=20")]
)
def test_a_run_reads_the_config_once_in_each_process(
    site: Any, tmp_path: Path, options: tuple[str, ...]
) -> None:
    shutil.copytree(EXAMPLE, site.folder / "example_workflow")
    site.write("example_workflow", {}, {"example_workflow": "example_workflow.dagster_job"})
    (site.folder / "sitecustomize.py").write_text(HOOK)

    outcome = site.run("run", "example_workflow", *options, OPENED=str(tmp_path / "opened"))

    assert outcome.returncode == 0, outcome.stderr
    opened = (tmp_path / "opened").read_text().splitlines()
    config = str(site.folder / "example_workflow" / "config.yaml")
    assert opened == [f"{opened[0].split()[0]} {config}"]
