"""Commands that only read metadata."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.bench.common import PYTHON, RUNTIME, Bench, Ratio, advertise, compared, environ, seconds

CONFIG = """\
source:
  name: orders
  type: mock
  mock:
    rows: 1000
    seed: {number}
processing:
  batch_size: ${{BATCH_SIZE:-1000}}
  primary_key: id
  columns: {{id: string, amount: float, ordered_at: timestamp}}
output:
  warehouse: duckdb
schedule:
  cron: "{minute} * * * *"
  timezone: Europe/Berlin
"""

MODULE = '''\
"""A workflow that must not be imported by a listing."""

raise RuntimeError("imported")

from dagster import job
from dataflow_runtime import register_workflow


@register_workflow(
    name="{name}",
    metadata={{
        "description": "Orders of region {number}",
        "owner": "team-{team}",
        "tags": ["orders", "bench"],
    }},
)
@job
def {name}_job():
    """Nothing."""
'''


def install(folder: Path, count: int) -> Mapping[str, str]:
    """Install `count` packages into `folder`; return an environment that can import them."""
    for number in range(count):
        name = f"bench_workflow_{number:03}"
        package = folder / name
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "dagster_job.py").write_text(
            MODULE.format(name=name, number=number, team=number % 7)
        )
        (package / "config.yaml").write_text(CONFIG.format(number=number, minute=number % 60))
        advertise(folder, name)
    return environ(PYTHONPATH=folder)


def list_200(folder: Path) -> Ratio:
    """`list` of 200 workflows : importing click, rich.table, importlib.metadata"""
    environment = install(folder, 200)
    bare = [PYTHON, "-c", "import click, rich.table, importlib.metadata"]
    return compared(
        lambda: seconds([RUNTIME, "list"], environment), lambda: seconds(bare, environment)
    )


VALIDATE = """
import sys, time
from pathlib import Path
from ruamel.yaml import YAML
import dataflow_runtime.config.models
from dataflow_runtime.config import ConfigManager
from dataflow_runtime.config.tree import read_source
from dataflow_runtime.config.yaml import parse_yaml

files = sorted(Path(sys.argv[1]).glob("*/config.yaml"))
manager = ConfigManager()
parsers = {
    "own": lambda file: parse_yaml(read_source(file, "file")),
    "ruamel": lambda file: YAML(typ="safe").load(file),
}

def milliseconds(one):
    one(files[0])
    start = time.perf_counter()
    for file in files[1:]:
        one(file)
    return (time.perf_counter() - start) / (len(files) - 1)

def validate(file):
    assert manager.check(file.parent.name).valid

print(milliseconds(validate), milliseconds(parsers[sys.argv[2]]))
"""


def validate_200_own(folder: Path) -> Ratio:
    """Validating one of 200 configs, in one call : parsing it alone, with our own loader"""
    return validated(folder, "own")


def validate_200_ruamel(folder: Path) -> Ratio:
    """Validating one of 200 configs, in one call : loading it with ruamel.yaml's C parser"""
    return validated(folder, "ruamel")


def validated(folder: Path, parser: str) -> Ratio:
    """Return what a validation and a parse of one file cost, in processes of their own."""
    command = [PYTHON, "-c", VALIDATE, str(folder), parser]
    environment = install(folder, 200)
    runs = [
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        for _ in range(7)
    ]
    return Ratio.of(tuple(map(float, run.stdout.split())) for run in runs)


BENCHES: list[Bench] = [(list_200, 3.0), (validate_200_own, 2.0), (validate_200_ruamel, 2.0)]
