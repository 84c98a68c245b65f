"""What the benches share: a site of many workflows, and the comparison with a peer."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

PYTHON = sys.executable
RUNTIME = str(Path(PYTHON).with_name("dataflow-runtime"))


class Ratio(NamedTuple):
    """A measurement against a peer: medians, and the median of the ratios.

    The ratio varies least on a noisy machine.

    Attributes:
        ours: What we take, in seconds, or in `unit` where one is given.
        peer: What the peer, or the limit, takes.
        ratio: Ours divided by the peer's, measured in turn.
        unit: Of both; seconds are printed as milliseconds.
        note: More figures of the same run.
    """

    ours: float
    peer: float
    ratio: float
    unit: str = "s"
    note: str = ""

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]], unit: str = "s", note: str = "") -> Ratio:
        """Return the medians of pairs (ours, peer)."""
        pairs = list(pairs)
        ours, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
        return cls(ours, peer, statistics.median(ours / peer for ours, peer in pairs), unit, note)


# A bench gets an empty folder. Its docstring becomes its line in the table. The number is the
# largest ratio allowed.
Bench = tuple[Callable[[Path], Ratio], float]


def seconds(command: list[str], environment: Mapping[str, str], *, code: int = 0) -> float:
    """Return how long a process takes, start to end; it must end with the exit code."""
    start = time.perf_counter()
    run = subprocess.run(
        command,
        env=environment,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    taken = time.perf_counter() - start
    if run.returncode != code:
        raise RuntimeError(f"{command} ended with {run.returncode}: {run.stderr}")
    return taken


def compared(ours: Callable[[], float], peer: Callable[[], float], *, repeats: int = 15) -> Ratio:
    """Measure ours and the peer in turn, after a warm-up; each returns seconds."""
    ours()
    peer()
    return Ratio.of((ours(), peer()) for _ in range(repeats))


def environ(**own: str | Path) -> dict[str, str]:
    """Return this environment plus the given variables; Python keeps its compiled files in it."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | {key: str(value) for key, value in own.items()}


def advertise(site: Path, name: str, module: str = "dagster_job") -> None:
    """Make a folder on the path an installed package that advertises one workflow."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(f"[dataflow.workflows]\n{name} = {name}.{module}\n")
