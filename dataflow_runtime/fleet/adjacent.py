"""Merges changes of adjacent lines, which git gives up on although no line was changed twice.

Git sees a conflict unless an unchanged line lies between two changes. A dependency that a team
adds below that of the runtime would conflict with each new version of the runtime.
"""

from __future__ import annotations

from pathlib import Path

from dataflow_runtime.fleet.git import GitError, git

__all__ = ["merge_adjacent_lines"]

_BETWEEN = b"\n<between two lines>\n"


def merge_adjacent_lines(repository: Path) -> None:
    """Resolve the conflicts of a repository in which no line was changed by both sides."""
    names = git(repository, "diff", "--name-only", "--diff-filter=U", "-z", "--relative")
    for name in filter(None, names.split("\0")):
        # `base ours theirs<tab>name`, with a dot for a side that has no such file.
        stages = git(repository, "checkout-index", "--temp", "--stage=all", "--", name)
        files = [repository / one for one in stages.partition("\t")[0].split() if one != "."]
        try:
            merged = _merged(repository, *files) if len(files) == 3 else None
        finally:
            for file in files:
                file.unlink(missing_ok=True)
        if merged is not None:
            (repository / name).write_bytes(merged)
            git(repository, "add", "--", name)


def _merged(repository: Path, base: Path, ours: Path, theirs: Path) -> bytes | None:
    """Return the merge of three files, None if both sides changed the same line."""
    texts = {file: file.read_bytes() for file in (base, ours, theirs)}
    # Git adds a line at the last of the places where it fits, so that no unchanged line is below
    # it. Upside down, there is one.
    for order in (1, -1):
        for file, text in texts.items():
            file.write_bytes(b"".join(line + _BETWEEN for line in text.split(b"\n")[::order]))
        try:
            git(repository, "merge-file", "--quiet", ours, base, theirs)
        except GitError:
            continue
        return b"\n".join(ours.read_bytes().split(_BETWEEN)[:-1][::order])
    return None
