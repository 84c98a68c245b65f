"""What the tests of the template share: a copy of it outside git, and a function that renders it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import copier
import pytest

ROOT = Path(__file__).parents[2]

Render = Callable[..., Path]


def _copy_template(folder: Path) -> Path:
    """Copy what copier reads of this repository into a folder, as it is now, committed or not."""
    shutil.copytree(ROOT / "template", folder / "template")
    shutil.copy(ROOT / "copier.yml", folder)
    (folder / "dataflow_runtime").mkdir()
    shutil.copy(ROOT / "dataflow_runtime" / "__init__.py", folder / "dataflow_runtime")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def copy_template() -> Callable[[Path], Path]:
    """Return a function that copies what copier reads of this repository, committed or not, into a folder."""
    return _copy_template


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template in a folder without git."""
    return _copy_template(tmp_path_factory.mktemp("source") / "template")


@pytest.fixture(scope="session")
def render(template: Path) -> Render:
    """Return a function that renders the template into a folder, with answers; it never needs trust."""

    def run(destination: Path, *, source: str | Path = template, vcs_ref: str | None = None, **answers: object) -> Path:
        copier.run_copy(
            str(source), destination, data=answers, vcs_ref=vcs_ref, defaults=True, unsafe=False, quiet=True
        )
        return destination

    return run
