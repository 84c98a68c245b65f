"""Change the runtime one place at a time, and print the changes that its tests do not notice.

``nox -s mutants`` tries changes in random order for ten minutes; ``nox -s mutants -- 60 7`` for an
hour, in the order of seed 7.
"""

from __future__ import annotations

import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Each folder of the runtime, and the tests that should notice a change in it.
TESTED_BY = {
    "config": ["tests/unit/config"],
    "workflows": ["tests/unit/workflows"],
    "pipeline/load": [
        f"tests/integration/test_{name}.py"
        for name in ("load", "schema_evolution", "exactly_once", "failures")
    ],
}
OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
}


@dataclass(frozen=True)
class Mutant:
    """A changed file.

    Attributes:
        file: Its path in the repository.
        line: Where it is changed.
        change: The line before and after, in one line.
        text: What the changed file holds.
        tests: Those that should fail.
    """

    file: Path
    line: int
    change: str
    text: str
    tests: list[str]


def change(node: ast.AST) -> bool:
    """Change a node in place; return whether there was something to change."""
    if isinstance(node, ast.Compare):
        node.ops[0] = OPERATORS[type(node.ops[0])]()
    elif isinstance(node, ast.BoolOp | ast.BinOp) and type(node.op) in OPERATORS:
        node.op = OPERATORS[type(node.op)]()
    elif isinstance(node, ast.If | ast.IfExp):
        node.test = ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Constant) and type(node.value) in (bool, int):
        node.value = not node.value if isinstance(node.value, bool) else int(node.value) + 1
    elif isinstance(node, ast.Return) and node.value is not None:
        node.value = ast.Constant(None)
    else:
        return False
    return True


def places_of(file: Path) -> list[int]:
    """Return the numbers of the nodes of a file that can be changed."""
    nodes = list(ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))))
    return [number for number, node in enumerate(nodes) if change(node)]


def mutate(file: Path, number: int, tests: list[str]) -> Mutant:
    """Return a file with one node changed."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    node: Any = list(ast.walk(tree))[number]
    before = ast.unparse(node).splitlines()[0]
    change(node)
    after = ast.unparse(node).splitlines()[0]
    text = ast.unparse(ast.fix_missing_locations(tree))
    return Mutant(file, node.lineno, f"{before}  →  {after}", text, tests)


def survives(mutant: Mutant, folder: Path) -> bool:
    """Return whether the tests pass on a copy of the repository with this change."""
    target = folder / mutant.file
    original = target.read_text(encoding="utf-8")
    target.write_text(mutant.text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests]
    environ = {**os.environ, "PYTHONPATH": str(folder), "CI": "true"}
    try:
        outcome = subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, timeout=300, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        target.write_text(original, encoding="utf-8")
    return outcome.returncode == 0


def main(minutes: float, seed: int) -> None:
    """Try changes until the time is over."""
    files = [
        (path.relative_to(ROOT), tests)
        for folder, tests in TESTED_BY.items()
        for path in sorted((ROOT / "dataflow_runtime" / folder).rglob("*.py"))
    ]
    places = [(file, number, tests) for file, tests in files for number in places_of(file)]
    random.Random(seed).shuffle(places)
    queue, deadline = iter(places), time.monotonic() + 60 * minutes
    results: list[bool] = []

    def work(folder: Path) -> None:
        for part in ("dataflow_runtime", "tests", "docs", "pyproject.toml", "template"):
            source = ROOT / part
            copy_of = shutil.copytree if source.is_dir() else shutil.copy
            copy_of(source, folder / part)
        while time.monotonic() < deadline and (place := next(queue, None)):
            mutant = mutate(*place)
            results.append(survives(mutant, folder))
            if results[-1]:
                print(f"survived: {mutant.file}:{mutant.line}: {mutant.change}", flush=True)

    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as base, ThreadPoolExecutor(workers) as pool:
        folders = [Path(base, str(number)) for number in range(workers)]
        for folder in folders:
            folder.mkdir()
        list(pool.map(work, folders))
    print(f"{len(results)} of {len(places)} changes tried, {sum(results)} survived")


if __name__ == "__main__":
    arguments = [float(word) for word in sys.argv[1:]]
    main(arguments[0] if arguments else 10, int(arguments[1]) if arguments[1:] else 1)
