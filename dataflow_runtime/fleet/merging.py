"""Merges what Git gives up on although nobody changed the same line: changes of lines that stand side by side.

Git takes two changes for a conflict unless an unchanged line lies between them. A dependency that a team adds below
that of the runtime would therefore conflict with each new version of the runtime. Here one lies between any two lines.
"""

from __future__ import annotations

from pathlib import Path

from dataflow_runtime.fleet.git import GitError, git

__all__ = ["merge_side_by_side"]

_BETWEEN = b"\n<between two lines>\n"


def merge_side_by_side(repository: Path) -> None:
    """Resolve the conflicts of a repository in which both sides changed lines next to each other, and none the same."""
    names = git(repository, "diff", "--name-only", "--diff-filter=U", "-z", "--relative").split(
        "\0"
    )
    for name in filter(None, names):
        # `base ours theirs<tab>name`, a dot for what is not there: added or removed on one side.
        stages = (
            git(repository, "checkout-index", "--temp", "--stage=all", "--", name)
            .partition("\t")[0]
            .split()
        )
        files = [repository / stage for stage in stages if stage != "."]
        try:
            if len(files) == 3 and (merged := _merged(repository, *files)) is not None:
                (repository / name).write_bytes(merged)
                git(repository, "add", "--", name)
        finally:
            for file in files:
                file.unlink(missing_ok=True)


def _merged(repository: Path, base: Path, ours: Path, theirs: Path) -> bytes | None:
    """Return the merge of three files, None where both sides changed the same line."""
    texts = {file: file.read_bytes() for file in (base, ours, theirs)}
    # Of the places where a new line may stand, git takes the last: below an added line there is none between. Upside
    # down, there is.
    for order in (1, -1):
        for file, text in texts.items():
            file.write_bytes(b"".join(line + _BETWEEN for line in text.split(b"\n")[::order]))
        try:
            git(repository, "merge-file", "--quiet", ours, base, theirs)
        except GitError:
            continue
        return b"\n".join(ours.read_bytes().split(_BETWEEN)[:-1][::order])
    return None
