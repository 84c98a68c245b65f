"""Changes of adjacent lines, each by one side, do not conflict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataflow_runtime.fleet.adjacent import merge_adjacent_lines

Git = Callable[..., str]
Commit = Callable[[Path], Path]


@pytest.fixture
def merge(git: Git, commit: Commit, tmp_path: Path) -> Callable[[str, str, str], tuple[str, bool]]:
    """Return a function that merges two changes of a file, and says whether a conflict is left."""

    def run(base: str, ours: str, theirs: str) -> tuple[str, bool]:
        repository = tmp_path / "repository"
        repository.mkdir()
        file = repository / "sub folder" / "é.txt"
        file.parent.mkdir()
        for branch, text in (("main", base), ("theirs", theirs), ("ours", ours)):
            if branch != "main":
                git(repository, "switch", "--quiet", "-c", branch, "main")
            file.write_bytes(text.encode())
            commit(repository)
        try:
            git(repository, "merge", "--quiet", "theirs")
        except AssertionError:
            assert git(repository, "ls-files", "--unmerged")
        merge_adjacent_lines(repository)
        assert sorted(path.name for path in repository.iterdir()) == [".git", "sub folder"]
        return file.read_bytes().decode(), bool(git(repository, "ls-files", "--unmerged"))

    return run


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        ("[\nr1\n]\n", "[\nr1\nmine\n]\n", "[\nr2\n]\n", "[\nr2\nmine\n]\n"),
        ("[\nr1\n]\n", "[\nmine\nr1\n]\n", "[\nr2\n]\n", "[\nmine\nr2\n]\n"),
        ("a\nb\nc\n", "a\nB\nc\n", "a\nb\nC\n", "a\nB\nC\n"),
        ("a\nb", "A\nb", "a\nB", "A\nB"),
        ("a\r\nb\r\n", "A\r\nb\r\n", "a\r\nB\r\n", "A\r\nB\r\n"),
        ("a\nb\nc\nd\n", "c\nd\n", "a\nb\nC\nd\n", "C\nd\n"),
    ],
)
def test_changes_of_adjacent_lines_are_merged(
    merge: Callable[[str, str, str], tuple[str, bool]],
    base: str,
    ours: str,
    theirs: str,
    merged: str,
) -> None:
    assert merge(base, ours, theirs) == (merged, False)


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        ("a\nb\n", "A\nb\n", "AA\nb\n"),
        ("a\n", "a\nmine\n", "a\ntheirs\n"),
        ("a\nb\n", "b\n", "A\nb\n"),
    ],
    ids=["the same line", "both add at one place", "removed here, changed there"],
)
def test_a_line_changed_by_both_sides_stays_a_conflict(
    merge: Callable[[str, str, str], tuple[str, bool]], base: str, ours: str, theirs: str
) -> None:
    text, conflict = merge(base, ours, theirs)
    assert conflict
    assert "<<<<<<<" in text
