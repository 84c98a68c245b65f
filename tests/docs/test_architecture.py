"""The diagram of the architecture is the contract that import-linter checks."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_diagram_has_the_layers_of_the_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [contract] = project["tool"]["importlinter"]["contracts"]
    layers = [layer.replace("dataflow_runtime.", "") for layer in contract["layers"]]
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    diagram = page.split("```text\n")[1].split("\n```")[0].splitlines()
    assert [line.strip().split("  ")[0] for line in diagram] == layers


def test_every_folder_of_the_runtime_is_in_the_diagram() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    diagram = page.split("```text\n")[1].split("\n```")[0]
    folders = {path.parent.name for path in (ROOT / "dataflow_runtime").glob("*/__init__.py")}
    assert {folder for folder in folders if folder not in diagram} == set()
