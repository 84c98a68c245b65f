"""``copier update`` over a fleet: each checkout in a clone of its own, and into the checkout only as a finished branch.

The clone shares the checkout's objects and lives in a temporary folder. What becomes of an upgrade is known before a
single ref makes it the checkout's branch: whatever ends the process, no checkout is left half upgraded, and its working
tree is never touched. A second call finds the branches that are there and makes the others.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.fleet.checkouts import ANSWERS_FILE, Checkout, read_answers
from dataflow_runtime.fleet.checks import find_problems
from dataflow_runtime.fleet.git import GitError, git, redirected
from dataflow_runtime.fleet.merging import merge_side_by_side
from dataflow_runtime.fleet.process import last_line, run
from dataflow_runtime.fleet.status import Status, status_of
from dataflow_runtime.fleet.template import TemplateRepository, Templates

__all__ = ["Upgrade", "upgrade_fleet"]

Outcome = Literal["current", "dirty", "ready", "upgraded", "conflicts", "broken", "failed"]
_MARKER = "^<<<<<<< before updating"


@dataclass(frozen=True)
class Upgrade:
    """What became of one checkout.

    Attributes:
        path: The checkout's folder.
        workflow: The workflow's name.
        outcome: ``current``: nothing to do; ``dirty``: left alone, since it has changes that are not committed;
            ``ready``: would be upgraded; ``upgraded``: the branch is there; ``conflicts``: the same, with conflict
            markers to solve; ``broken``: the same, and its check finds problems that it did not before; ``failed``.
        version: The template's version that it is at.
        latest: The one that it is, or would be, upgraded to.
        branch: The branch that holds, or would hold, the upgrade.
        stat: Files and lines that change, as ``git diff --stat`` prints them.
        conflicts: Files in which both sides changed the same lines, or that the template has no more and people edited.
        problems: What the check finds on the branch and not before.
        problems_before: What it finds on the branch and before as well.
        error: Why it failed, or else what stands in the way.
    """

    path: str
    workflow: str
    outcome: Outcome
    version: str | None = None
    latest: str | None = None
    branch: str | None = None
    stat: str = ""
    conflicts: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    problems_before: tuple[str, ...] = ()
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON shape."""
        return asdict(self)


def upgrade_fleet(
    checkouts: Iterable[Checkout],
    templates: Templates,
    *,
    branch: str | None,
    apply: bool,
    jobs: int,
) -> Iterator[Upgrade]:
    """Yield what becomes of each checkout, in their order, `jobs` at a time.

    Args:
        checkouts: The checkouts.
        templates: Where their templates are.
        branch: Name of the branches; None for one with the version in it.
        apply: Make the branches, and check the workflows on them; else only say what would change.
        jobs: How many at a time.
    """
    # Rendering is not thread-safe, and quick: how they stand is told one by one, and only the updates run in parallel.
    planned = [(checkout, status_of(checkout, templates)) for checkout in checkouts]
    with ThreadPoolExecutor(jobs) as executor:
        tasks = [
            executor.submit(_upgrade, checkout, status, templates, branch, apply)
            for checkout, status in planned
        ]
        try:
            for task in tasks:
                yield task.result()
        finally:
            for task in tasks:
                task.cancel()


def _upgrade(
    checkout: Checkout, status: Status, templates: Templates, branch: str | None, apply: bool
) -> Upgrade:
    result = Upgrade(
        status.path, status.workflow, "failed", status.version, status.latest, error=status.error
    )
    if status.error:
        return result
    if not status.behind:
        return replace(result, outcome="current")
    try:
        if git(checkout.path, "status", "--porcelain", "--", "."):
            return replace(result, outcome="dirty", error="it has changes that are not committed")
        with tempfile.TemporaryDirectory(
            prefix="dataflow-upgrade-", ignore_cleanup_errors=True
        ) as folder:
            upgrading = _Upgrading(
                checkout, status, templates.of(checkout.source), Path(folder), branch
            )
            return upgrading.run(result, apply=apply)
    except DataflowError as error:
        return replace(result, error=error.message)
    except OSError as error:  # one checkout that cannot be read must not end the others
        return replace(result, error=str(error))


class _Upgrading:
    """The upgrade of one checkout, in a temporary folder."""

    def __init__(
        self,
        checkout: Checkout,
        status: Status,
        template: TemplateRepository,
        folder: Path,
        branch: str | None,
    ) -> None:
        self.checkout, self.status, self.template, self.folder = checkout, status, template, folder
        self.clone = folder / "clone"
        top = Path(git(checkout.path, "rev-parse", "--show-toplevel"))
        self.below = checkout.path.resolve().relative_to(top.resolve())
        # Workflows of one repository must not share a branch.
        suffix = "" if self.below == Path() else f"-{checkout.workflow}"
        self.branch = (branch or f"template-{status.latest}") + suffix

    @property
    def project(self) -> Path:
        """The workflow in the clone."""
        return self.clone / self.below

    def run(self, result: Upgrade, *, apply: bool) -> Upgrade:
        """Upgrade in the clone, look at the outcome, and, with `apply`, make it the checkout's branch."""
        there = self._is_there()
        head = git(self.checkout.path, "rev-parse", "--verify", "HEAD")
        self._clone(f"refs/heads/{self.branch}" if there else head)
        kept = () if there else self._update()
        base = git(self.clone, "merge-base", head, "HEAD")
        below = self.below.as_posix()
        result = replace(
            result,
            branch=self.branch,
            error=None,
            stat=git(self.clone, "diff", "--stat=100", base, "HEAD", "--", below),
            conflicts=tuple(sorted({*self._marked(), *kept})),
        )
        if apply and not result.conflicts:
            result = self._checked(result)
        if apply and not there:
            options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
            git(self.checkout.path, "fetch", *options, self.clone, f"HEAD:refs/heads/{self.branch}")
        done: Outcome = "broken" if result.problems else "upgraded" if apply else "ready"
        return replace(result, outcome="conflicts" if result.conflicts else done)

    def _is_there(self) -> bool:
        """Return whether the branch holds this upgrade already.

        Raises:
            DataflowError: It is there, and holds something else.
        """
        try:
            git(self.checkout.path, "rev-parse", "--quiet", "--verify", f"refs/heads/{self.branch}")
        except GitError:
            return False
        answers = (self.below / ANSWERS_FILE).as_posix()
        try:
            text = git(self.checkout.path, "show", f"refs/heads/{self.branch}:{answers}")
            version = str(read_answers(text)["_commit"])
            if self.template.commit_of(version) == self.template.commit_of(str(self.status.latest)):
                return True
        except (DataflowError, ValueError, KeyError):
            pass
        hint = "delete it, or name another one with --branch"
        raise DataflowError(
            f"there is a branch {self.branch} that does not hold this upgrade: {hint}"
        )

    def _clone(self, revision: str) -> None:
        commit = git(self.checkout.path, "rev-parse", "--verify", revision)
        objects = git(self.checkout.path, "rev-parse", "--path-format=absolute", "--git-common-dir")
        git(self.folder, "clone", "--quiet", "--shared", "--no-checkout", objects, self.clone)
        git(self.clone, "checkout", "--quiet", "--detach", commit)
        if not (self.project / ANSWERS_FILE).is_file():
            raise DataflowError(f"{ANSWERS_FILE} is not committed in its git repository")
        for key in ("user.name", "user.email"):
            # Where it is not set, git finds out who commits in its own way, or says what it lacks.
            with contextlib.suppress(GitError):
                git(self.clone, "config", key, git(self.checkout.path, "config", "--get", key))

    def _update(self) -> tuple[str, ...]:
        """Run ``copier update`` and commit; return the edited files that the template has no more."""
        target = str(self.status.latest)
        variables = dict(redirected(self.template.url, self.template.mirror))
        variables |= {"COPIER_CACHE_DIR": str(self.folder / "cache"), "PYTHONWARNINGS": "ignore"}
        command = [
            sys.executable,
            "-m",
            "copier",
            "update",
            "--quiet",
            "--defaults",
            "--vcs-ref",
            target,
        ]
        finished = run(command, self.project, variables)
        if finished.returncode:
            raise DataflowError(
                f"copier update: {last_line(finished.stderr) or f'exit code {finished.returncode}'}"
            )
        merge_side_by_side(self.clone)
        git(self.clone, "add", "--all", "--", self.below.as_posix())
        removed = git(
            self.clone, "diff", "--cached", "--name-only", "--no-renames", "--diff-filter=D"
        ).splitlines()
        edited = {
            (PurePosixPath(self.below.as_posix()) / name).as_posix()
            for name in self.status.edited or []
        }
        kept = tuple(name for name in removed if name in edited)
        if kept:
            git(self.clone, "checkout", "--quiet", "HEAD", "--", *kept)
        message = f"Update the template of {self.checkout.workflow} from {self.status.version} to {target}"
        git(self.clone, "commit", "--quiet", "--no-verify", "--message", message)
        return kept

    def _marked(self) -> list[str]:
        """Return the files with conflict markers, and what Copier could not merge at all."""
        below = self.below.as_posix()
        try:
            marked = git(
                self.clone, "grep", "--name-only", "-e", _MARKER, "HEAD", "--", below
            ).splitlines()
        except GitError:
            marked = []  # none
        rejected = [
            name
            for name in git(self.clone, "ls-files", "--", below).splitlines()
            if name.endswith(".rej")
        ]
        return [name.removeprefix("HEAD:") for name in marked] + rejected

    def _checked(self, result: Upgrade) -> Upgrade:
        """Add what the check finds on the branch; what it finds in the checkout as it was, too, stands apart."""
        after = find_problems(
            self.project, scratch=self.folder / "after", settings=self.checkout.path
        )
        if not after:
            return result
        before = find_problems(
            self.checkout.path, scratch=self.folder / "before", settings=self.checkout.path
        )
        problems = tuple(problem for problem in after if problem not in before)
        return replace(
            result, problems=problems, problems_before=tuple(p for p in after if p in before)
        )
