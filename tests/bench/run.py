"""Prints what people wait for as ratios, each against a peer or a limit measured in the same run.

``nox -s bench`` runs all benches; ``nox -s bench -- list`` runs those whose name contains a word.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import api, dashboards, data, fleet, listing, location
from tests.bench.common import Ratio

BENCHES = [
    *listing.BENCHES,
    *data.BENCHES,
    *location.BENCHES,
    *api.BENCHES,
    *fleet.BENCHES,
    *dashboards.BENCHES,
]


def main(words: list[str]) -> int:
    """Run the benches whose name contains one of the words; exit code 1 if a limit is missed."""
    console = Console(width=160)
    table = Table("bench", "ours", "peer", "ratio", "at most", "note")
    missed = False
    for bench, limit in BENCHES:
        if words and not any(word in bench.__name__ for word in words):
            continue
        console.print(f"[dim]{bench.__name__} …", end=" ")
        with tempfile.TemporaryDirectory() as folder:
            result = bench(Path(folder))
        console.print(f"{result.ratio:.2f} of at most {limit:g}")
        missed |= result.ratio > limit
        cells = (
            shown(result.ours, result),
            shown(result.peer, result),
            f"{result.ratio:.2f}",
            f"{limit:g}",
        )
        table.add_row(
            str(bench.__doc__), *cells, result.note, style="red" if result.ratio > limit else None
        )
    console.print(table)
    return int(missed)


def shown(value: float, result: Ratio) -> str:
    """Return a figure with its unit."""
    return f"{value * 1000:.3g} ms" if result.unit == "s" else f"{value:.3g} {result.unit}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
