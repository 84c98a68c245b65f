"""The template: a bare clone of its repository for all checkouts, its versions, its renderings."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.fleet.git import GitError, cause, environment, git, without_credentials

__all__ = ["Template", "copier_errors", "render", "workers"]

# Where the default branch of the template is kept: a clone without a remote has no HEAD of its own.
_DEFAULT_BRANCH = "refs/fleet/head"


class Template:
    """A template's repository as it is now, in a bare clone.

    Attributes:
        source: The template, as Copier records it.
        url: The same as git takes it.
        mirror: The clone.
        latest: The newest release's tag, as Copier chooses it; without one, the newest commit.

    Raises:
        DataflowError: It cannot be fetched.
    """

    def __init__(self, source: str, folder: Path) -> None:
        self.source, self.url = source, _git_url(source)
        if not re.match(r"[\w.+-]+(://|@)", self.url) and not Path(self.url).is_absolute():
            hint = "write an absolute one or a URL as _src_path"
            raise DataflowError(f"the template {source} is a relative path: {hint}")
        self.mirror = folder / f"{sha256(self.url.encode()).hexdigest()[:16]}.git"
        self.mirror.mkdir(parents=True, exist_ok=True)
        refs = (
            "+refs/heads/*:refs/heads/*",
            "+refs/tags/*:refs/tags/*",
            f"+HEAD:{_DEFAULT_BRANCH}",
        )
        try:
            self._git("init", "--quiet", "--bare")
            self._git("fetch", "--prune", "--no-tags", "--update-shallow", "--", self.url, *refs)
        except GitError as error:
            name = f"the template {without_credentials(source)} cannot be fetched"
            moved = "if it has moved, `upgrade --template` says where to"
            raise DataflowError(f"{name}: {error.message} ({moved})") from None
        tags = self._git("tag", "--list", "--sort=-version:refname").splitlines()
        released = [tag for tag in tags if re.fullmatch(r"v?\d+(\.\d+)*", tag)]
        newest = released or [self._git("describe", "--tags", "--always", _DEFAULT_BRANCH)]
        self.latest = newest[0]

    def commit_of(self, version: str) -> str:
        """Return the full hash of a tag, a commit, or a description such as ``v1.2.0-3-g0a1b2c3``.

        Raises:
            DataflowError: The repository has no such commit.
        """
        try:
            revision = ("--verify", "--end-of-options", f"{version}^{{commit}}")
            return self._git("rev-parse", "--quiet", *revision)
        except GitError:
            shown = without_credentials(self.source)
            raise DataflowError(f"the template {shown} has no version {version!r}") from None

    @cache  # noqa: B019  a command has few templates
    def behind(self, version: str) -> int:
        """Return how many commits the latest version has that this one has not."""
        commits = (self.commit_of(self.latest), f"^{self.commit_of(version)}")
        return int(self._git("rev-list", "--count", *commits))

    def show(self, version: str, file: str) -> str:
        """Return a file of the repository at a version; empty if there is none."""
        try:
            return self._git("show", f"{self.commit_of(version)}:{file}")
        except DataflowError:
            return ""

    def _git(self, *arguments: str) -> str:
        # Git can be told not to look for bare repositories by itself (safe.bareRepository).
        return git(self.mirror, "--git-dir=.", *arguments)


def _git_url(source: str) -> str:
    url = re.sub(r"^gh:/?(.+?)(\.git)?$", r"https://github.com/\1.git", source)
    url = re.sub(r"^gl:/?(.+?)(\.git)?$", r"https://gitlab.com/\1.git", url)
    return url.removeprefix("git+")


def render(source: str, version: str, answers: Mapping[str, Any], folder: Path) -> None:
    """Render a template at a version into a folder. Runs no task, whomever the user trusts.

    Raises:
        DataflowError: Copier refuses an answer or the template.
    """
    import copier

    copy = partial(copier.run_copy, defaults=True, quiet=True, skip_tasks=True)
    with copier_errors("its answers cannot be rendered"):
        copy(source, folder, dict(answers), vcs_ref=version)


@contextmanager
def copier_errors(what: str) -> Iterator[None]:
    """Turn whatever Copier lets through of Jinja's, YAML's and git's errors into one of ours."""
    try:
        yield
    except Exception as error:
        raise DataflowError(f"{what}: {cause(str(error)) or type(error).__name__}") from error


@contextmanager
def workers(jobs: int, templates: Iterable[Template]) -> Iterator[ProcessPoolExecutor]:
    """Start processes that may call Copier, which changes the working directory as it runs.

    In them git reads the clones of the templates, so that no host is asked again.
    """
    remote = {one.url: one.mirror for one in templates if not Path(one.url).is_dir()}
    # Copier keeps the environment that it was imported in: a forked process would keep ours.
    spawn = get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="dataflow-copier-") as cache:
        executor = ProcessPoolExecutor(jobs, spawn, _prepare, (environment(remote), cache))
        try:
            yield executor
        finally:
            executor.shutdown(cancel_futures=True)


def _prepare(variables: Mapping[str, str], cache: str) -> None:
    os.environ.clear()
    # Copier does not share a cache between processes that refresh it at the same time.
    os.environ.update(variables, COPIER_CACHE_DIR=f"{cache}/{os.getpid()}")
    # An interrupt is for the main process, which ends these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
