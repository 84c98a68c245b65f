"""The template's own repository: one clone of it for all checkouts, its versions, and what lies between them."""

from __future__ import annotations

import re
import tempfile
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.fleet.git import GitError, git
from dataflow_runtime.fleet.process import without_credentials
from dataflow_runtime.fleet.rendering import Renderer, repository_url

__all__ = ["TemplateRepository", "Templates", "runtime_number"]

_RUNTIME = "dataflow_runtime/__init__.py"
# Where the default branch of the template is kept: in a clone without a remote, HEAD means nothing.
_DEFAULT_BRANCH = "refs/fleet/head"


class Templates:
    """The templates of a fleet, each fetched once, when it is first asked for.

    Args:
        folder: Where the clones are kept for the next time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, TemplateRepository | DataflowError] = {}

    def of(self, source: str) -> TemplateRepository:
        """Return the template that checkouts name as their source.

        Raises:
            DataflowError: It cannot be reached, or is no repository; said of each checkout, tried once.
        """
        if source not in self._known:
            try:
                self._known[source] = TemplateRepository(source, self._folder)
            except DataflowError as error:
                self._known[source] = error
        known = self._known[source]
        if isinstance(known, DataflowError):
            raise known
        return known


class TemplateRepository:
    """A template's repository as it is now, in a bare clone.

    Attributes:
        source: The template, as Copier recorded it.
        url: The same as git takes it.
        mirror: The clone.

    Raises:
        DataflowError: It cannot be reached, or is no repository.
    """

    def __init__(self, source: str, folder: Path) -> None:
        url = repository_url(source)
        shown = without_credentials(source)
        if url is None:
            raise DataflowError(f"the template {shown} is no git repository, so it has no versions")
        if "://" not in url and not url.startswith("git@") and not Path(url).is_absolute():
            raise DataflowError(
                f"the template {shown} is a relative path: write an absolute one or a URL as _src_path"
            )
        self.source, self.url = source, url
        self.mirror = folder / f"{sha256(url.encode()).hexdigest()[:16]}.git"
        self._renderers: dict[str, Renderer] = {}
        self._commits: dict[str, str] = {}
        self._behind: dict[str, int] = {}
        self.mirror.mkdir(parents=True, exist_ok=True)
        self._git("init", "--quiet", "--bare")
        refs = (
            "+refs/heads/*:refs/heads/*",
            "+refs/tags/*:refs/tags/*",
            f"+HEAD:{_DEFAULT_BRANCH}",
        )
        try:
            self._git(
                "fetch", "--quiet", "--prune", "--no-tags", "--update-shallow", "--", url, *refs
            )
        except GitError as error:
            raise DataflowError(
                f"the template {shown} cannot be fetched: {error.message}"
            ) from None

    @cached_property
    def latest(self) -> str:
        """The newest release's tag, as Copier chooses it; the default branch's commit where there is none."""
        from packaging.version import InvalidVersion, Version

        versions = []
        for tag in self._git("tag", "--list").split():
            try:
                version = Version(tag)
            except InvalidVersion:
                continue
            if not version.is_prerelease:
                versions.append((version, tag))
        return (
            max(versions)[1]
            if versions
            else self._git("describe", "--tags", "--always", _DEFAULT_BRANCH)
        )

    def commit_of(self, version: str) -> str:
        """Return the full hash of a tag, a commit or a description such as ``v1.2.0-3-g0a1b2c3``.

        Raises:
            DataflowError: The repository has no such commit.
        """
        if version not in self._commits:
            revision = ("--verify", "--end-of-options", f"{version}^{{commit}}")
            try:
                self._commits[version] = self._git("rev-parse", "--quiet", *revision)
            except GitError:
                shown = without_credentials(self.source)
                raise DataflowError(f"the template {shown} has no version {version!r}") from None
        return self._commits[version]

    def behind(self, version: str) -> int:
        """Return how many commits the latest version has that this one has not."""
        if version not in self._behind:
            commits = (self.commit_of(self.latest), f"^{self.commit_of(version)}")
            self._behind[version] = int(self._git("rev-list", "--count", *commits))
        return self._behind[version]

    def runtime_at(self, version: str) -> str | None:
        """Return the number of the runtime that stands beside the template at a version; None where none does."""
        try:
            return runtime_number(self._git("show", f"{self.commit_of(version)}:{_RUNTIME}"))
        except DataflowError:
            return None

    def _git(self, *arguments: str | Path) -> str:
        # Said outright, since git can be told not to look for bare repositories by itself (safe.bareRepository).
        return git(self.mirror, "--git-dir=.", *arguments)

    def renderer(self, version: str) -> Renderer:
        """Return what renders this template at a version; kept, since it is shared by many checkouts."""
        if version not in self._renderers:
            folder = tempfile.TemporaryDirectory(prefix="dataflow-template-")
            commit = self.commit_of(version)
            self._git("clone", "--quiet", "--shared", "--no-checkout", self.mirror, folder.name)
            git(Path(folder.name), "checkout", "--quiet", "--detach", commit)
            self._renderers[version] = Renderer(self.source, version, commit, folder)
        return self._renderers[version]


def runtime_number(module: str) -> str | None:
    """Return the number that the source of ``dataflow_runtime`` gives itself."""
    found = re.search(r'^__version__ = "([^"]+)"', module, re.MULTILINE)
    return found[1] if found else None
