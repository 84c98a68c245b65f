"""Prints what people wait for as ratios, each against a peer or a limit that is measured in the same run.

``nox -s bench`` runs all; ``nox -s bench -- list`` those whose name contains a word.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

PYTHON = sys.executable
RUNTIME = str(Path(PYTHON).with_name("dataflow-runtime"))

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
    metadata={{"description": "Orders of region {number}", "owner": "team-{team}", "tags": ["orders", "bench"]}},
)
@job
def {name}_job():
    """Nothing."""
'''


def install(folder: Path, count: int) -> Mapping[str, str]:
    """Lay out `count` installed workflow packages in `folder`; return the environment that has them on its path."""
    for number in range(count):
        name = f"bench_workflow_{number:03}"
        package, info = folder / name, folder / f"{name}-1.0.dist-info"
        package.mkdir()
        info.mkdir()
        (package / "__init__.py").touch()
        (package / "dagster_job.py").write_text(MODULE.format(name=name, number=number, team=number % 7))
        (package / "config.yaml").write_text(CONFIG.format(number=number, minute=number % 60))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dataflow.workflows]\n{name} = {name}.dagster_job\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return environment | {"PYTHONPATH": str(folder)}


def seconds(command: list[str], environment: Mapping[str, str]) -> float:
    """Return how long a process takes, start to end."""
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def compared(ours: Callable[[], float], peer: Callable[[], float], *, repeats: int = 15) -> tuple[float, float, float]:
    """Return median seconds of ours and of the peer, and the median of their ratios; in turn, after a warm-up."""
    ours()
    peer()
    pairs = [(ours(), peer()) for _ in range(repeats)]
    return (
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[0] / pair[1] for pair in pairs),
    )


def list_200(folder: Path) -> tuple[float, float, float]:
    """`list` of 200 workflows : importing click, rich.table, importlib.metadata"""
    environment = install(folder, 200)
    bare = [PYTHON, "-c", "import click, rich.table, importlib.metadata"]
    return compared(lambda: seconds([RUNTIME, "list"], environment), lambda: seconds(bare, environment))


VALIDATE = """
import sys, time
from pathlib import Path
from ruamel.yaml import YAML
import dataflow_runtime.config.models
from dataflow_runtime.config import ConfigManager
from dataflow_runtime.config.yaml import parse_yaml, read_source

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


def validate_200_own(folder: Path) -> tuple[float, float, float]:
    """Validating one of 200 configs, in one call : parsing it alone, with our own loader"""
    return validated(folder, "own")


def validate_200_ruamel(folder: Path) -> tuple[float, float, float]:
    """Validating one of 200 configs, in one call : loading it with ruamel.yaml's C parser"""
    return validated(folder, "ruamel")


def validated(folder: Path, parser: str) -> tuple[float, float, float]:
    """Return what a validation and a parse of one file cost, in processes of their own."""
    command = [PYTHON, "-c", VALIDATE, str(folder), parser]
    environment = install(folder, 200)
    runs = [subprocess.run(command, env=environment, check=True, capture_output=True, text=True) for _ in range(7)]
    pairs = [tuple(map(float, run.stdout.split())) for run in runs]
    ours, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    return ours, peer, statistics.median(ours / peer for ours, peer in pairs)


# What is measured, and the most that the ratio may be.
BENCHES: list[tuple[Callable[[Path], tuple[float, float, float]], float]] = [
    (list_200, 3.0),
    (validate_200_own, 2.0),
    (validate_200_ruamel, 2.0),
]


def main(words: list[str]) -> int:
    """Run the benches whose name contains one of the words; exit code 1 if a limit is missed."""
    table = Table("bench", "ours [ms]", "peer [ms]", "ratio", "at most")
    missed = False
    for bench, limit in BENCHES:
        if words and not any(word in bench.__name__ for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            ours, peer, ratio = bench(Path(folder))
        missed |= ratio > limit
        table.add_row(
            str(bench.__doc__),
            f"{ours * 1000:.3g}",
            f"{peer * 1000:.3g}",
            f"{ratio:.2f}",
            f"{limit:.1f}",
            style="red" if ratio > limit else None,
        )
    Console(width=140).print(table)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
