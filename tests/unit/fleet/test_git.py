"""Messages of git name the cause, and no password."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflow_runtime.fleet.git import GitError, cause, environment, git

FETCH = """\
warning: redirecting to https://git.example.com/
ssh: Could not resolve hostname git.example.com: Name or service not known
fatal: Could not read from remote repository.

Please make sure you have the correct access rights
and the repository exists.
"""
COPIER = """\
Unexpected exit code: 128
Command line: | /usr/bin/git clone -- https://user:pa55word@host/x.git
Stderr:       | fatal: unable to access 'https://user:pa55word@host/x.git/': no route
"""


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            FETCH,
            "ssh: Could not resolve hostname git.example.com: Name or service not known; "
            "fatal: Could not read from remote repository.",
        ),
        (COPIER, "fatal: unable to access 'https://host/x.git/': no route"),
        ("hint: try again\nerror: failed\n", "error: failed"),
        ("", ""),
    ],
)
def test_the_cause_is_named_without_advice_and_passwords(output: str, expected: str) -> None:
    assert cause(output) == expected


def test_an_error_says_what_git_found(tmp_path: Path) -> None:
    with pytest.raises(GitError, match=r"^git: fatal: not a git repository"):
        git(tmp_path, "rev-parse", "HEAD")


def test_variables_of_a_hook_are_left_out_and_other_settings_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX", "GIT_QUARANTINE_PATH"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "me")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "me")
    found = environment({"https://example.com/t.git": tmp_path})
    assert {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX"}.isdisjoint(found)
    assert "GIT_QUARANTINE_PATH" not in found
    assert (found["GIT_AUTHOR_NAME"], found["GIT_CONFIG_VALUE_0"]) == ("me", "me")
    assert found["GIT_CONFIG_COUNT"] == "4"
    assert found["GIT_CONFIG_KEY_3"] == f"url.{tmp_path.as_uri()}.insteadOf"
    assert found["GIT_TERMINAL_PROMPT"] == "0"
