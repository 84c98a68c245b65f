"""A release: one number for the package, the changelog, the template's requirement and the tag.

``python tests/template/release.py prepare 1.2.3`` makes this checkout that release.
``python tests/template/release.py check DIST`` compares this checkout, built into DIST, with it.

The archive of a release holds what Copier reads of it. Update tests start from the archives, so
that they need neither tags nor old commits, which do not always come with a clone.
"""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
RELEASES = "tests/template/releases"
CHANGELOG = "docs/changelog.md"
VERSION_FILE = "dataflow_runtime/__init__.py"
EXAMPLE = "docs/example_workflow"
# What Copier reads: the questions, the files, and the version that the requirement is made of.
READ_BY_COPIER = ("copier.yml", "template", VERSION_FILE)
SDIST = (
    "dataflow_runtime",
    "template",
    "docs",
    "tests",
    "copier.yml",
    "noxfile.py",
    "pyproject.toml",
    "LICENSE",
)
NUMBER = re.compile(r"\d+\.\d+\.\d+")


def released() -> dict[str, Path]:
    """Return the archives by tag, oldest first."""
    archives = {
        path.name.removesuffix(".tar.gz"): path for path in (ROOT / RELEASES).glob("v*.tar.gz")
    }
    return dict(
        sorted(archives.items(), key=lambda item: [int(part) for part in item[0][1:].split(".")])
    )


def template_files(root: Path) -> dict[str, bytes]:
    """Return what Copier reads below a folder, path to content."""
    paths = [root / name for name in READ_BY_COPIER]
    files = [
        file
        for path in paths
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file()
    ]
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in sorted(files)}


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files below a folder, path to content."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def copy_template(folder: Path) -> Path:
    """Copy what Copier reads of this checkout, committed or not, into a folder; return that."""
    write_files(template_files(ROOT), folder)
    return folder


def write_archive(files: Mapping[str, bytes], archive: Path) -> None:
    """Write an archive; the same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    archive.write_bytes(gzip.compress(buffer.getvalue(), mtime=0))


def read_archive(archive: Path) -> dict[str, bytes]:
    """Return the files of an archive, path to content."""
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]


def version_of(files: Mapping[str, bytes]) -> str:
    """Return the version that template files belong to."""
    found = re.search(rb'__version__ = "([^"]+)"', files[VERSION_FILE])
    assert found is not None
    return found[1].decode()


def requirement(version: str) -> str:
    """Return what a workflow rendered at a version requires of the package index."""
    return f"dataflow-runtime[run]>={version},<{int(version.split('.')[0]) + 1}"


def prepare(version: str, root: Path = ROOT) -> None:
    """Make a checkout the release of a version: number, example, changelog and archive, staged.

    Raises:
        SystemExit: It is not a version number, or is tagged already.
    """
    if not NUMBER.fullmatch(version):
        raise SystemExit(f"expected a version such as 1.2.3, found {version!r}")
    if tagged := _tagged_commit(version, root):
        raise SystemExit(f"v{version} is tagged at {tagged[:12]} already: take the next number")
    changes = (
        (VERSION_FILE, r'__version__ = "[^"]+"', f'__version__ = "{version}"'),
        (f"{EXAMPLE}/.copier-answers.yml", r"_commit: \S+", f"_commit: v{version}"),
        (f"{EXAMPLE}/pyproject.toml", r"dataflow-runtime\[run\][^\"]+", requirement(version)),
        (CHANGELOG, r"(?m)^## Unreleased$", f"## {version}"),
    )
    for name, pattern, new in changes:
        text = (root / name).read_text(encoding="utf-8")
        (root / name).write_text(re.sub(pattern, new, text, count=1), encoding="utf-8")
    archive = root / RELEASES / f"v{version}.tar.gz"
    write_archive(template_files(root), archive)
    # The archive is new to git, and the check compares what git tracks.
    written = [*(name for name, _, _ in changes), str(archive.relative_to(root))]
    _git(root, "add", "--", *written)
    print(f"prepared {version}: {', '.join(written)}")


def mismatches(root: Path, dist: Path) -> Iterator[str]:
    """Yield what keeps a checkout from being released, one line each.

    Args:
        root: The checkout.
        dist: The folder of its wheel and sdist.
    """
    files = template_files(root)
    version = version_of(files)
    if not NUMBER.fullmatch(version):
        hint = "run `nox -s release -- 1.2.3`"
        yield f"{VERSION_FILE}: {version} is not the number of a release: {hint}"
        return
    top = re.search(r"(?m)^## (\S+)", (root / CHANGELOG).read_text(encoding="utf-8"))
    if top is None or top[1] != version:
        yield f"{CHANGELOG}: the top entry is {top and top[1]}, expected {version}"
    for name, expected in (
        (".copier-answers.yml", f"_commit: v{version}\n"),
        ("pyproject.toml", requirement(version)),
    ):
        if expected not in (root / EXAMPLE / name).read_text(encoding="utf-8"):
            yield f"{EXAMPLE}/{name}: expected {expected.strip()}"
    archive = root / RELEASES / f"v{version}.tar.gz"
    kept = read_archive(archive) if archive.exists() else {}
    changed = sorted(
        name for name in kept.keys() | files.keys() if kept.get(name) != files.get(name)
    )
    if changed:
        what = f"{len(changed)} files differ from the template ({changed[0]}, …)"
        hint = f"run `nox -s release -- {version}`, or with the next number"
        yield f"{archive.relative_to(root)}: {what if kept else 'missing'}: {hint}"
    yield from _rendered_mismatches(files, version)
    head = _git(root, "rev-parse", "HEAD")
    if (commit := _tagged_commit(version, root)) and commit != head:
        where = f"v{version} is tagged at {commit[:12]}"
        yield f"{where}, which is not this commit: take the next number"
    yield from _built_mismatches(root, dist, version)


def _rendered_mismatches(files: Mapping[str, bytes], version: str) -> Iterator[str]:
    """Compare what the template renders as the runtime's requirement with the version."""
    import copier

    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder, "template")
        for name, content in files.items():
            (template / name).parent.mkdir(parents=True, exist_ok=True)
            (template / name).write_bytes(content)
        workflow = Path(folder, "orders")
        copier.run_copy(
            str(template), workflow, data={"runtime_source": "index"}, defaults=True, quiet=True
        )
        project = tomllib.loads((workflow / "pyproject.toml").read_text(encoding="utf-8"))[
            "project"
        ]
        found, expected = project["dependencies"], requirement(version)
        if found != [expected]:
            yield f"the template renders the requirement {found}, expected {expected}"


def _built_mismatches(root: Path, dist: Path, version: str) -> Iterator[str]:
    """Compare the content of wheel and sdist with the files that git tracks."""
    wheel, sdist = (
        dist / f"dataflow_runtime-{version}{end}" for end in ("-py3-none-any.whl", ".tar.gz")
    )
    built = sorted(path.name for path in dist.iterdir())
    if built != sorted([wheel.name, sdist.name]):
        yield f"built {', '.join(built)}, expected {wheel.name} and {sdist.name}"
        return
    tracked = set(_git(root, "ls-files").splitlines())
    info = f"dataflow_runtime-{version}.dist-info"
    about = {
        f"{info}/{name}"
        for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    yield from _differences(
        wheel.name, held, {name for name in tracked if name.startswith("dataflow_runtime/")} | about
    )
    with tarfile.open(sdist) as tar:
        held = {member.name.partition("/")[2] for member in tar.getmembers() if member.isfile()}
    # hatchling adds README.md, .gitignore and the metadata by itself.
    expected = {name for name in tracked if name.split("/")[0] in SDIST} | {
        "README.md",
        ".gitignore",
        "PKG-INFO",
    }
    yield from _differences(sdist.name, held, expected)


def _differences(name: str, held: set[str], expected: set[str]) -> Iterator[str]:
    for what, files in (("lacks", expected - held), ("should not hold", held - expected)):
        if files:
            more = f" and {len(files) - 5} more" if len(files) > 5 else ""
            yield f"{name} {what} {', '.join(sorted(files)[:5])}{more}"


def _tagged_commit(version: str, root: Path = ROOT) -> str:
    return _git(
        root, "rev-parse", "--quiet", "--verify", f"refs/tags/v{version}^{{commit}}", check=False
    )


def _git(root: Path, *arguments: str, check: bool = True) -> str:
    run = subprocess.run(["git", *arguments], cwd=root, check=check, capture_output=True, text=True)
    return run.stdout.strip()


def main(arguments: list[str]) -> None:
    """Run one of the two commands."""
    match arguments:
        case ["prepare", version]:
            prepare(version)
        case ["check", dist]:
            if problems := list(mismatches(ROOT, Path(dist))):
                raise SystemExit(
                    "not ready to be released:\n"
                    + "\n".join(f"- {problem}" for problem in problems)
                )
            version = version_of(template_files(ROOT))
            done = f"git tag v{version} && git push origin v{version}"
            tagged = _tagged_commit(version)
            print(f"v{version} is tagged here." if tagged else f"Ready. Once committed: {done}")
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
