"""docs/tutorial.md, followed word by word in an empty folder and a new virtual environment."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
from pathlib import Path

import pytest
from uv import find_uv_bin

from dataflow_runtime import __version__
from tests.docs import pages

pytestmark = pytest.mark.e2e

ADDRESS = "https://github.com/org/dataflow-template"
# The packages are the same that these tests use, so they come from uv's cache.
PRELUDE = 'pip() { "$UV" pip "$@"; }'


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """This checkout as the repository that the page names, with the tag of its version."""
    folder = tmp_path / "published.git"
    folder.mkdir()
    for name in ("dataflow_runtime", "template"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(pages.ROOT / name, folder / name, ignore=ignore)
    for name in ("copier.yml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(pages.ROOT / name, folder)
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    for arguments in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["add", "--all"],
        [*who, "commit", "--quiet", "--message", "Release"],
        ["tag", f"v{__version__}"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


@pytest.fixture
def environ(published: Path, tmp_path: Path) -> dict[str, str]:
    """A new terminal, for which the published repository is the one of the checkout."""
    versions = tmp_path / "constraints.txt"
    installed = {
        f"{package.name}=={package.version}"
        for package in importlib.metadata.distributions()
        if package.name not in ("dataflow-runtime", "pip")
    }
    versions.write_text("\n".join(sorted(installed)))
    find_cache = [find_uv_bin(), "cache", "dir"]
    cache = subprocess.run(find_cache, capture_output=True, text=True, check=True).stdout.strip()
    return pages.variables(tmp_path) | {
        "UV": find_uv_bin(),
        "UV_CACHE_DIR": cache,
        "UV_CONSTRAINT": str(versions),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{published.with_suffix('')}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
    }


def test_the_tutorial_works_as_it_is_written(environ: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    pages.follow(pages.DOCS / "tutorial.md", folder, environ, PRELUDE)
    assert (folder / ".dataflow" / "shop_orders.duckdb").exists()
