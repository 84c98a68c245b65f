"""`nox -s release`: each thing that differs between version, archive, docs and build is named."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.template import release

Git = Callable[..., str]
Commit = Callable[[Path], Path]

COPIED = (
    "dataflow_runtime",
    "template",
    "docs",
    "copier.yml",
    "noxfile.py",
    "pyproject.toml",
    "LICENSE",
    "README.md",
)
CACHES = shutil.ignore_patterns(
    "__pycache__", ".*_cache", ".venv", ".dataflow", "build", "dist", "node_modules"
)


@pytest.fixture
def checkout(root: Path, commit: Commit, tmp_path: Path) -> Path:
    """A checkout that is ready, whatever this one is: with its own archive and changelog."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in COPIED:
        source = root / name
        shutil.copytree(source, folder / name, ignore=CACHES) if source.is_dir() else shutil.copy(
            source, folder
        )
    (folder / ".gitignore").write_text("__pycache__/\n")
    files = release.template_files(folder)
    version = release.version_of(files)
    (folder / "docs" / "changelog.md").write_text(f"# Changelog\n\n## {version}\n")
    releases = folder / "tests" / "template" / "releases"
    releases.mkdir(parents=True)
    release.write_archive(files, releases / f"v{version}.tar.gz")
    return commit(folder)


@pytest.fixture
def version(checkout: Path) -> str:
    found: str = release.version_of(release.template_files(checkout))
    return found


@pytest.fixture
def build(checkout: Path, version: str, git: Git, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes empty files, named as in a build of the checkout."""

    def run(*, extra: str = "", without: str = "", version: str = version) -> Path:
        tracked = set(git(checkout, "ls-files").splitlines())
        info = f"dataflow_runtime-{version}.dist-info"
        about = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
        wheel = {name for name in tracked if name.startswith("dataflow_runtime/")} | {
            f"{info}/{name}" for name in about
        }
        dist = tmp_path / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        dist.mkdir()
        with zipfile.ZipFile(dist / f"dataflow_runtime-{version}-py3-none-any.whl", "w") as archive:
            for name in (wheel | {extra}) - {without, ""}:
                archive.writestr(name, "")
        with tarfile.open(dist / f"dataflow_runtime-{version}.tar.gz", "w:gz") as tar:
            for name in (tracked | {"PKG-INFO", extra}) - {without, ""}:
                tar.addfile(tarfile.TarInfo(f"dataflow_runtime-{version}/{name}"), io.BytesIO())
        return dist

    return run


def test_a_checkout_in_step_is_ready_with_and_without_its_tag(
    checkout: Path, build: Callable[..., Path], version: str, git: Git
) -> None:
    assert list(release.mismatches(checkout, build())) == []
    git(checkout, "tag", f"v{version}")
    assert list(release.mismatches(checkout, build())) == []


def test_each_thing_that_is_not_in_step_is_named(
    checkout: Path, build: Callable[..., Path], version: str, git: Git, commit: Commit
) -> None:
    git(checkout, "tag", f"v{version}")
    (checkout / "docs" / "changelog.md").write_text("# Changelog\n\n## 0.0.1\n")
    (checkout / "template" / ".gitignore").write_text("changed\n")
    (checkout / release.EXAMPLE / ".copier-answers.yml").write_text("_commit: v0.0.1\n")
    questions = checkout / "copier.yml"
    questions.write_text(questions.read_text().replace(">={{ runtime_version }},", ">="))
    commit(checkout)

    changelog, example, archive, rendered, tag = release.mismatches(checkout, build())

    assert changelog == f"docs/changelog.md: the top entry is 0.0.1, expected {version}"
    assert example == f"{release.EXAMPLE}/.copier-answers.yml: expected _commit: v{version}"
    assert archive.startswith(
        f"tests/template/releases/v{version}.tar.gz: 2 files differ from the template (copier.yml, "
    )
    assert f"run `nox -s release -- {version}`" in archive
    assert rendered.startswith("the template renders the requirement ['dataflow-runtime[run]>=<")
    assert tag.startswith(f"v{version} is tagged at ")
    assert tag.endswith("which is not this commit: take the next number")


@pytest.mark.parametrize(
    ("build_as", "found"),
    [
        (
            {"extra": "dataflow_runtime/secret.py"},
            ["py3-none-any.whl should not hold dataflow_runtime/secret.py", ""],
        ),
        ({"extra": "tests/new.py"}, ["py3-none-any.whl should not hold tests/new.py", ""]),
        (
            {"without": "dataflow_runtime/py.typed"},
            ["py3-none-any.whl lacks dataflow_runtime/py.typed", ""],
        ),
        ({"without": "template/.gitignore"}, [".tar.gz lacks template/.gitignore"]),
    ],
    ids=str,
)
def test_wheel_and_sdist_hold_what_they_should_and_nothing_else(
    checkout: Path, build: Callable[..., Path], build_as: dict[str, str], found: list[str]
) -> None:
    mismatches = list(release.mismatches(checkout, build(**build_as)))
    assert len(mismatches) == len(found)
    assert all(text in mismatch for text, mismatch in zip(found, mismatches, strict=True))


def test_a_development_version_is_no_release(checkout: Path, build: Callable[..., Path]) -> None:
    dist = build()
    (checkout / release.VERSION_FILE).write_text('__version__ = "1.0.0.dev1"\n')
    (mismatch,) = release.mismatches(checkout, dist)
    assert "1.0.0.dev1 is not the number of a release" in mismatch


def test_a_prepared_checkout_is_ready_once_it_is_committed_as_the_docs_say(
    checkout: Path, build: Callable[..., Path], git: Git
) -> None:
    changelog = checkout / "docs" / "changelog.md"
    changelog.write_text(changelog.read_text().replace("## ", "## Unreleased\n\n- New.\n\n## "))
    git(checkout, "commit", "--quiet", "--all", "--message", "Say what is new")
    release.prepare("7.0.0", checkout)
    # As nox does, before the commit: the new archive is tracked by then.
    ready = list(release.mismatches(checkout, build(version="7.0.0")))
    git(checkout, "commit", "--quiet", "--all", "--message", "Release 7.0.0")
    assert ready == []
    assert git(checkout, "status", "--porcelain") == ""
    assert "\n## 7.0.0\n" in changelog.read_text()
    git(checkout, "tag", "v7.0.0")
    assert list(release.mismatches(checkout, build(version="7.0.0"))) == []
    with pytest.raises(SystemExit, match=r"v7.0.0 is tagged at .* already: take the next number"):
        release.prepare("7.0.0", checkout)


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(SystemExit, match="expected a version such as 1\\.2\\.3, found '1\\.2'"):
        release.prepare("1.2")


def test_an_archive_is_the_same_each_time(root: Path, tmp_path: Path) -> None:
    files = release.template_files(root)
    for name in ("one", "two"):
        release.write_archive(
            dict(reversed(files.items())) if name == "two" else files, tmp_path / name
        )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert release.read_archive(tmp_path / "one") == files
