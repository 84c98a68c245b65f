"""`copier update` from every release to this checkout keeps what people have changed since."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import copier
import pytest

from tests.template import release

Render = Callable[..., Path]
Git = Callable[..., str]
Commit = Callable[[Path], Path]

RELEASES = sorted(
    path.name.removesuffix(".tar.gz") for path in (Path(__file__).parent / "releases").iterdir()
)
ANSWERS = {
    "mock": {"workflow_name": "orders"},
    "api": {
        "workflow_name": "visits",
        "source_type": "api",
        "warehouse": "postgres",
        "assets": False,
        "owner": 'O\'Brien "& co"',
        "schedule": "*/5 * * * *",
        "runtime_source": "index",
    },
}

INGESTION = '''\
"""Where rows come from: the configured source, the newest records first."""

from collections.abc import Iterator

import polars as pl
from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.sources import read_source


def extract(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield the rows of the configured source, each batch the newest first."""
    for batch in read_source(config):
        yield batch.sort("occurred_at", descending=True)
'''
MODEL = "select category, count(*) as record_count from {{ ref('stg_NAME') }} group by category\n"
MODEL_DOCS = """\
  - name: fct_NAME_by_category
    description: One row for each category.
    columns:
      - name: category
        data_tests: [unique]

unit_tests:
"""
PAGE = "---\ntitle: Regions\n---\n\n# Regions\n\nOurs.\n"


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file.name}: {old!r} is there {text.count(old)} times"
    file.write_text(text.replace(old, new), encoding="utf-8")


def substitute(file: Path, pattern: str, new: str) -> None:
    text, count = re.subn(pattern, new, file.read_text(encoding="utf-8"))
    assert count == 1
    file.write_text(text, encoding="utf-8")


def edit(workflow: Path) -> None:
    """Change a rendered workflow as its owners do, wherever the lines of a release allow it."""
    (package,) = (workflow / "src").iterdir()
    name = package.name
    (package / "ingestion.py").write_text(INGESTION)
    (package / "dbt" / "models" / f"fct_{name}_by_category.sql").write_text(
        MODEL.replace("NAME", name)
    )
    replace(package / "dbt" / "schema.yml", "unit_tests:\n", MODEL_DOCS.replace("NAME", name))
    replace(
        workflow / "tests" / "test_dagster_job.py",
        'report.dbt["models"] == 2',
        'report.dbt["models"] == 3',
    )
    replace(
        package / "config.yaml",
        "max_rejected_ratio: 0.5",
        "max_rejected_ratio: 0.1",
    )
    replace(package / "config.yaml", "# Schedule\n", "# Schedule, agreed with the shop (2026-03)\n")
    with (package / "config.yaml").open("a") as file:
        file.write("\n# The source is down at times\nretries:\n  max_retries: 2 # mine\n")
    substitute(package / "dagster_job.py", r'"owner": .*', '"owner": "shop",')
    substitute(workflow / "pyproject.toml", r"authors = .*", 'authors = [{ name = "shop" }]')
    substitute(workflow / "README.md", r"Owner: .*", "Owner: the shop.")
    replace(
        workflow / "pyproject.toml",
        '"pytest>=8.4",\n',
        '"pytest>=8.4",\n    "pytest-randomly>=3.16",\n',
    )
    (package / "evidence" / "regions.md").write_text(PAGE)
    (workflow / "tests" / "test_config.py").unlink()
    for name, lines in ((".gitignore", "*.local\n"), ("README.md", "\n## Ours\n\nAsk the shop.\n")):
        with (workflow / name).open("a") as file:
            file.write(lines)


def tree(workflow: Path, git: Git) -> dict[str, bytes]:
    """Return every file that git tracks or would add, but the answers."""
    names = git(workflow, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    return {
        name: (workflow / name).read_bytes()
        for name in names
        if name != ".copier-answers.yml" and (workflow / name).exists()
    }


def update(workflow: Path) -> None:
    copier.run_update(
        workflow, vcs_ref="HEAD", defaults=True, overwrite=True, unsafe=False, quiet=True
    )


def unmerged(workflow: Path, git: Git) -> set[str]:
    return {line.split("\t")[1] for line in git(workflow, "ls-files", "--unmerged").splitlines()}


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("tag", RELEASES)
def test_an_update_keeps_every_edit_and_conflicts_in_nothing(
    releases: Path,
    render: Render,
    git: Git,
    commit: Commit,
    tmp_path: Path,
    tag: str,
    answers: dict[str, Any],
) -> None:
    workflow = render(tmp_path / "old" / "w", source=releases, vcs_ref=tag, **answers)
    edit(workflow)
    commit(workflow)

    update(workflow)

    assert unmerged(workflow, git) == set()
    assert not list(workflow.rglob("*.rej"))
    fresh = render(tmp_path / "new" / "w", source=releases, vcs_ref="HEAD", **answers)
    edit(fresh)
    commit(fresh)
    assert tree(workflow, git) == tree(fresh, git)
    assert (
        "_commit: " + git(releases, "describe", "--tags")
        in (workflow / ".copier-answers.yml").read_text()
    )
    assert not (workflow / "tests" / "test_config.py").exists()


@pytest.mark.parametrize("tag", RELEASES)
def test_an_update_without_edits_equals_a_fresh_rendering(
    releases: Path, render: Render, git: Git, commit: Commit, tmp_path: Path, tag: str
) -> None:
    workflow = commit(render(tmp_path / "orders", source=releases, vcs_ref=tag))
    update(workflow)
    fresh = commit(render(tmp_path / "fresh" / "orders", source=releases, vcs_ref="HEAD"))
    assert tree(workflow, git) == tree(fresh, git)


def test_where_both_sides_changed_a_line_the_conflict_stays_with_both(
    releases: Path, render: Render, git: Git, commit: Commit, tmp_path: Path
) -> None:
    workflow = render(tmp_path / "visits", source=releases, vcs_ref="v0.1.0", source_type="api")
    config = workflow / "src" / "visits" / "config.yaml"
    replace(config, "retries: 5 # of a request", "retries: 8 # of a slow request")
    commit(workflow)

    update(workflow)

    assert unmerged(workflow, git) == {"src/visits/config.yaml"}
    text = config.read_text()
    assert text.count("<<<<<<< before updating") == text.count(">>>>>>> after updating") == 1
    assert "    retries: 8 # of a slow request" in text
    assert "    max_retries: 5 # of a request" in text


def test_a_line_that_the_template_drops_goes_unless_its_owner_changed_it(
    releases: Path, render: Render, git: Git, commit: Commit, tmp_path: Path
) -> None:
    untouched = commit(render(tmp_path / "orders", source=releases, vcs_ref="v0.3.0"))
    changed = render(tmp_path / "visits", source=releases, vcs_ref="v0.3.0")
    replace(changed / "src" / "visits" / "config.yaml", "batch_size: 50000", "batch_size: 10000")
    commit(changed)

    update(untouched)
    update(changed)

    assert unmerged(untouched, git) == set()
    assert "batch_size" not in (untouched / "src" / "orders" / "config.yaml").read_text()
    assert unmerged(changed, git) == {"src/visits/config.yaml"}
    assert "batch_size: 10000" in (changed / "src" / "visits" / "config.yaml").read_text()


def test_a_dependency_below_the_comment_survives_a_new_runtime(
    own_releases: Path, render: Render, git: Git, commit: Commit, tmp_path: Path
) -> None:
    workflow = render(
        tmp_path / "orders", source=own_releases, vcs_ref="v0.2.0", runtime_source="index"
    )
    mark = "    # Your own go below this line; an update of the template changes the one above.\n"
    replace(workflow / "pyproject.toml", mark, f'{mark}    "httpx>=0.27",\n')
    commit(workflow)
    module = own_releases / "dataflow_runtime" / "__init__.py"
    module.write_text('__version__ = "0.99.0"\n')
    commit(own_releases)

    update(workflow)

    assert unmerged(workflow, git) == set()
    project = (workflow / "pyproject.toml").read_text()
    assert f'    "dataflow-runtime[run]>=0.99.0,<1",\n{mark}    "httpx>=0.27",\n]\n' in project


def test_no_release_asks_for_trust(releases: Path, git: Git) -> None:
    for tag, archive in release.released().items():
        questions = release.read_archive(archive)["copier.yml"].decode()
        assert not [
            word for word in ("_tasks", "_migrations", "_jinja_extensions") if word in questions
        ], tag
        assert git(releases, "rev-parse", "--verify", f"{tag}^{{commit}}")


def test_every_archive_is_the_release_that_it_is_named_for(root: Path) -> None:
    changelog = (root / "docs" / "changelog.md").read_text(encoding="utf-8")
    assert list(release.released())[:1] == ["v0.1.0"]
    for tag, archive in release.released().items():
        assert f"v{release.version_of(release.read_archive(archive))}" == tag
        assert f"\n## {tag[1:]}\n" in changelog


@pytest.mark.e2e
def test_an_updated_workflow_passes_its_own_tests(
    releases: Path, render: Render, git: Git, commit: Commit, shared: Any, tmp_path: Path
) -> None:
    workflow = render(tmp_path / "orders", source=releases, vcs_ref=RELEASES[0])
    edit(workflow)
    commit(workflow)
    update(workflow)
    assert unmerged(workflow, git) == set()
    own_tests(shared, workflow)


@pytest.mark.e2e
def test_a_workflow_of_the_first_release_runs_with_this_runtime(
    releases: Path, render: Render, shared: Any, tmp_path: Path
) -> None:
    workflow = render(tmp_path / "visits", source=releases, vcs_ref=RELEASES[0], source_type="api")
    assert "    retries: 5" in (workflow / "src" / "visits" / "config.yaml").read_text()
    assert "source.api.retries: is called 'max_retries' now" in own_tests(shared, workflow)


def own_tests(environment: Any, workflow: Path) -> str:
    """Install a workflow beside this checkout's runtime, and return what its own tests print."""
    environment.pip("install", "--no-deps", "--editable", ".", folder=workflow)
    try:
        output: str = environment.run(
            "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=workflow
        )
    finally:
        environment.pip("uninstall", "--yes", workflow.name, folder=workflow)
    return output
