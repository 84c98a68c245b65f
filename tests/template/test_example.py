"""docs/example_workflow is a fresh rendering, filled in; what it did not change stays equal."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from dataflow_runtime import __version__

Render = Callable[..., Path]

# What the example changes. Everything else is the template's, byte for byte: fix it there first.
EDITED = {
    "README.md",
    "src/example_workflow/config.yaml",
    "src/example_workflow/dbt/schema.yml",
    "src/example_workflow/dbt/sources.yml",
    "src/example_workflow/evidence/index.md",
    "src/example_workflow/evidence/sources/daily.sql",
    "src/example_workflow/ingestion.py",
    "src/example_workflow/transform.py",
    "tests/test_dagster_job.py",
    "tests/test_ingestion.py",
    "tests/test_transform.py",
}
ADDED = {
    "src/example_workflow/data/usgs-earthquakes-2018-02.geojson",
    "src/example_workflow/dbt/models/fct_earthquakes.sql",
    "src/example_workflow/dbt/models/fct_earthquakes_daily.sql",
    "src/example_workflow/dbt/models/fct_strongest_earthquakes.sql",
    "src/example_workflow/dbt/models/stg_earthquakes.sql",
    "src/example_workflow/evidence/components/EventMap.svelte",
    "src/example_workflow/evidence/sources/events.sql",
    "src/example_workflow/evidence/sources/quality.sql",
    "src/example_workflow/evidence/sources/strongest.sql",
}
REMOVED = {
    "src/example_workflow/data/sample.csv",
    "src/example_workflow/dbt/models/fct_example_workflow_daily.sql",
    "src/example_workflow/dbt/models/stg_example_workflow.sql",
    "src/example_workflow/evidence/components/Share.svelte",
    "src/example_workflow/evidence/sources/latest.sql",
}
# Left behind by work in the folder; git ignores them too.
CACHES = {
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    ".dataflow",
    "build",
    "dist",
}


def read(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, path to content; of the answers, those that people gave."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    files = {
        path.as_posix(): (folder / path).read_bytes()
        for path in paths
        if not CACHES & set(path.parts)
    }
    lines = files[".copier-answers.yml"].splitlines(keepends=True)
    return files | {
        ".copier-answers.yml": b"".join(line for line in lines if not line.startswith(b"_"))
    }


@pytest.fixture(scope="module")
def example(root: Path) -> Path:
    return root / "docs" / "example_workflow"


def test_what_the_example_does_not_own_equals_a_fresh_rendering(
    example: Path, render: Render, tmp_path: Path
) -> None:
    answers = YAML(typ="safe").load(example / ".copier-answers.yml")
    rendered = render(
        tmp_path / "example", **{key: value for key, value in answers.items() if key[0] != "_"}
    )
    fresh, ours = read(rendered), read(example)

    assert set(ours) - set(fresh) == ADDED
    assert set(fresh) - set(ours) == REMOVED
    assert {path for path in set(ours) & set(fresh) if ours[path] != fresh[path]} == EDITED


def test_the_example_names_no_place_of_a_machine(example: Path) -> None:
    answers = YAML(typ="safe").load(example / ".copier-answers.yml")
    assert answers["_src_path"] == "gh:org/dataflow-template"
    assert answers["_commit"] == f"v{__version__}"
