"""``copier update`` over a fleet: each checkout in a clone of its own, the result on a branch.

The clone is in a temporary folder and becomes a branch of the checkout when it is finished. What
ends the process before leaves the checkout as it was; a second call makes the branches that lack.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.fleet.adjacent import merge_adjacent_lines
from dataflow_runtime.fleet.checkouts import ANSWERS_FILE, Checkout
from dataflow_runtime.fleet.checks import find_problems
from dataflow_runtime.fleet.git import GitError, git, without_credentials
from dataflow_runtime.fleet.status import Compared, Drift, find_drift
from dataflow_runtime.fleet.template import Template, copier_errors, render, workers

__all__ = ["Clone", "Upgrade", "upgrade_fleet"]

Outcome = Literal["current", "dirty", "ready", "upgraded", "conflicts", "broken", "failed"]
_MARKERS = ("-e", "^<<<<<<< before updating", "-e", "^>>>>>>> after updating")
# Where a rendered workflow names its template.
_URL = r"(dataflow-runtime(?:\[[\w,]+\])? @ )([^\"\n]+)"
_ADDRESSES = {ANSWERS_FILE: r"(_src_path: )(.*)", "pyproject.toml": _URL, "requirements.txt": _URL}


@dataclass(frozen=True)
class Upgrade:
    """What became of one checkout.

    Attributes:
        path: The checkout's folder.
        workflow: The workflow's name.
        outcome: ``current``: nothing to do; ``dirty``: left alone, it has uncommitted changes;
            ``ready``: would be upgraded; ``upgraded``: the branch exists; ``conflicts``: the same,
            with conflicts to solve; ``broken``: the same, and its check finds new problems;
            ``failed``.
        version: The template's version that it is at.
        latest: The one that it is, or would be, upgraded to.
        branch: The branch that holds, or would hold, the upgrade.
        stat: Files and lines that change, as ``git diff --stat`` prints them.
        conflicts: Files that both sides changed in the same lines, or that the template dropped
            while the owner edits or uses them.
        problems: What the check finds on the branch and not before.
        problems_before: What it finds on the branch and before.
        error: Why it failed, or was left alone.
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


class Clone:
    """A clone that shares the objects of a checkout's repository; nothing is checked out yet.

    Args:
        checkout: The folder of the workflow, in a git repository.
        workflow: The workflow's name.
        folder: The temporary folder.
        branch: The branch to make. A suffix tells it from those of the repository's other
            workflows and worktrees.
    """

    def __init__(self, checkout: Path, workflow: str, folder: Path, branch: str) -> None:
        self.checkout, self.path = checkout, folder / "clone"
        top = Path(git(checkout, "rev-parse", "--show-toplevel")).resolve()
        self.below = checkout.resolve().relative_to(top).as_posix()
        self.project = self.path / self.below
        absolute = ("rev-parse", "--path-format=absolute")
        repository = Path(git(checkout, *absolute, "--git-common-dir"))
        own = Path(git(checkout, *absolute, "--git-dir"))
        self.branch = branch + ("" if self.below == "." else f"-{workflow}")
        self.branch += "" if own == repository else f"-{own.name}"
        self.head = git(checkout, "rev-parse", "--verify", "HEAD")
        self.exists = bool(git(checkout, "for-each-ref", f"refs/heads/{self.branch}"))
        git(folder, "clone", "--quiet", "--shared", "--no-checkout", repository, self.path)
        for key in ("user.name", "user.email"):
            # Unset in the checkout: git finds out who commits, or says what it lacks.
            with contextlib.suppress(GitError):
                git(self.path, "config", key, git(checkout, "config", "--get", key))
        start = f"refs/remotes/origin/{self.branch}" if self.exists else self.head
        git(self.path, "checkout", "--quiet", "--detach", start)

    def commit(self, *paragraphs: str) -> None:
        """Commit what is staged."""
        message = "\n\n".join(filter(None, paragraphs))
        git(self.path, "commit", "--quiet", "--no-verify", "--message", message)

    def publish(self) -> None:
        """Make the clone's commit the branch in the checkout's repository."""
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
        git(self.checkout, "fetch", *options, self.path, f"HEAD:refs/heads/{self.branch}")


def upgrade_fleet(
    rows: Sequence[Compared],
    *,
    branch: str | None,
    apply: bool,
    jobs: int,
    reset: Sequence[str] = (),
) -> Iterator[Upgrade]:
    """Yield what becomes of each checkout, in their order, `jobs` at a time.

    Args:
        rows: The checkouts, compared with their templates.
        branch: Name of the branches; None for one with the version in it.
        apply: Make the branches, and check the workflows on them; else only say what would change.
        jobs: How many at a time.
        reset: Files, relative to a checkout, that become the template's again.
    """
    with workers(jobs, [row.template for row in rows if row.template]) as executor:
        upgrade = partial(_upgrade, branch=branch, apply=apply, reset=reset)
        yield from executor.map(upgrade, rows)


def _upgrade(row: Compared, *, branch: str | None, apply: bool, reset: Sequence[str]) -> Upgrade:
    checkout, template, status = row
    result = Upgrade(status.path, status.workflow, "failed", status.version, status.latest)
    if template is None:
        return replace(result, error=status.error)
    try:
        if not status.behind and template.source == checkout.source and not reset:
            conflicts = _grep(checkout.path, *_MARKERS, "HEAD")
            outcome: Outcome = "conflicts" if conflicts else "current"
            return replace(result, outcome=outcome, conflicts=tuple(conflicts))
        if git(checkout.path, "status", "--porcelain", "--", "."):
            return replace(result, outcome="dirty", error="it has changes that are not committed")
        with tempfile.TemporaryDirectory(prefix="dataflow-upgrade-") as folder:
            name = branch or f"template-{template.latest}"
            clone = Clone(checkout.path, checkout.workflow, Path(folder), name)
            return _upgrade_in(clone, checkout, template, result, apply, reset)
    except (DataflowError, OSError) as error:  # one bad checkout must not end the others
        return replace(result, error=str(error))


def _upgrade_in(
    clone: Clone,
    checkout: Checkout,
    template: Template,
    result: Upgrade,
    apply: bool,
    reset: Sequence[str],
) -> Upgrade:
    """Upgrade in the clone, look at the outcome, and, with `apply`, publish the branch."""
    answers = clone.project / ANSWERS_FILE
    if not answers.is_file():
        raise DataflowError(f"{ANSWERS_FILE} is not committed in its git repository")
    if not clone.exists:
        _update(clone, checkout, template, reset)
    elif f"_commit: {template.latest}\n" not in answers.read_text(encoding="utf-8"):
        raise DataflowError(
            f"there is a branch {clone.branch} that does not hold this upgrade: "
            "delete it, or name another one with --branch"
        )
    base = git(clone.path, "merge-base", clone.head, "HEAD")
    stat = git(clone.path, "diff", "--stat=100", base, "HEAD", "--", clone.below)
    conflicts = _find_unresolved(clone, base)
    result = replace(result, branch=clone.branch, stat=stat, conflicts=conflicts)
    if apply and not conflicts:
        result = _check(clone, result)
    if apply and not clone.exists:
        clone.publish()
    done: Outcome = "upgraded" if apply else "ready"
    if conflicts or result.problems:
        done = "conflicts" if conflicts else "broken"
    return replace(result, outcome=done)


def _update(clone: Clone, checkout: Checkout, template: Template, reset: Sequence[str]) -> None:
    """Run ``copier update`` and commit; the message names each conflict and each reset file."""
    import copier

    moved = template.source != checkout.source
    if moved:
        _change_address(clone, checkout, template.source)
    if reset:
        _reset(clone, checkout, template.source, reset)
    drift = find_drift(clone.project, checkout, template.source)
    update = partial(copier.run_update, defaults=True, overwrite=True, quiet=True, skip_tasks=True)
    with copier_errors("copier update"):
        update(clone.project, vcs_ref=template.latest)
    merge_adjacent_lines(clone.path)
    git(clone.path, "add", "--all", "--", clone.below)
    dropped = _restore_dropped(clone, drift)
    conflicts = sorted({*_grep(clone.path, *_MARKERS, "--cached", "--", clone.below), *dropped})
    git(clone.path, "reset", "--quiet", "--soft", clone.head)
    subject = f"Update the template of {checkout.workflow} from {checkout.version}"
    clone.commit(
        f"{subject} to {template.latest}",
        f"The template is at {without_credentials(template.source)} now." if moved else "",
        "\n".join(f"Reset: {name}" for name in reset),
        "\n".join(f"Conflict: {name}" for name in conflicts),
    )


def _reset(clone: Clone, checkout: Checkout, source: str, names: Sequence[str]) -> None:
    """Commit files as the template renders them at the checkout's own version.

    Raises:
        DataflowError: The template does not render one of them, or they are not edited.
    """
    with tempfile.TemporaryDirectory(prefix="dataflow-rendered-") as folder:
        render(source, checkout.version, checkout.answers, Path(folder))
        for name in names:
            fresh = Path(folder, name)
            if not fresh.is_file() or not fresh.resolve().is_relative_to(Path(folder).resolve()):
                raise DataflowError(f"the template renders no file {name!r} for it")
            (clone.project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fresh, clone.project / name)
    git(clone.project, "add", "--", *names)
    if not git(clone.project, "diff", "--cached", "--name-only"):
        raise DataflowError(f"nothing to reset: {', '.join(names)} is as the template renders it")
    clone.commit("Reset files")


def _change_address(clone: Clone, checkout: Checkout, source: str) -> None:
    """Commit the new source of the template, as if the checkout had been rendered from there."""
    with tempfile.TemporaryDirectory(prefix="dataflow-rendered-") as folder:
        render(source, checkout.version, checkout.answers, Path(folder))
        for name, pattern in _ADDRESSES.items():
            fresh, file = Path(folder, name), clone.project / name
            found = fresh.is_file() and re.search(pattern, fresh.read_text(encoding="utf-8"))
            if found and file.is_file():
                parts = re.split(pattern, file.read_text(encoding="utf-8"))
                parts[2::3] = [found[2]] * len(parts[2::3])
                file.write_text("".join(parts), encoding="utf-8")
    git(clone.path, "add", "--update")
    clone.commit("Change the template's source")


def _restore_dropped(clone: Clone, drift: Drift) -> list[str]:
    """Restore what the update deleted although the owner edits or uses it; return the names.

    A file is used if its name is a word of a file that is not just as the template rendered it.
    """
    deleted = ("--cached", "--name-only", "--no-renames", "--diff-filter=D", "--relative", "-z")
    dropped = git(clone.project, "diff", *deleted).split("\0")[:-1]
    owned = set(git(clone.project, "ls-tree", "-r", "--name-only", "-z", "HEAD").split("\0"))
    owned -= {*drift.untouched, *dropped, ANSWERS_FILE}
    kept = []
    for name in dropped:
        users = _grep(clone.project, "--cached", "-w", "-F", "-e", PurePosixPath(name).stem)
        if name in drift.edited or owned & set(users):
            git(clone.project, "checkout", "--quiet", "HEAD", "--", name)
            kept.append((PurePosixPath(clone.below) / name).as_posix())
    return kept


def _find_unresolved(clone: Clone, base: str) -> tuple[str, ...]:
    """Return the files with markers, and those named by the upgrade if nobody committed since."""
    unresolved = set(_grep(clone.path, *_MARKERS, "HEAD", "--", clone.below))
    if git(clone.path, "rev-list", "--count", f"{base}..HEAD") == "1":
        named = git(clone.path, "log", "-1", "--format=%(trailers:key=Conflict,valueonly)")
        unresolved.update(filter(None, named.splitlines()))
    return tuple(sorted(unresolved))


def _grep(folder: Path, *arguments: str) -> list[str]:
    """Return the files that match, relative to the folder."""
    try:
        found = git(folder, "grep", "--name-only", "-z", *arguments).split("\0")
    except GitError:  # nothing matches, or it is not a repository
        return []
    return [name.removeprefix("HEAD:") for name in found if name]


def _check(clone: Clone, result: Upgrade) -> Upgrade:
    """Add what the check finds on the branch, apart from what it finds in the checkout too."""
    folder, checkout = clone.path.parent, clone.checkout
    after = find_problems(clone.project, scratch=folder / "after", settings=checkout)
    if not after:
        return result
    before = set(find_problems(checkout, scratch=folder / "before", settings=checkout))
    new = tuple(problem for problem in after if problem not in before)
    return replace(
        result, problems=new, problems_before=tuple(one for one in after if one in before)
    )
