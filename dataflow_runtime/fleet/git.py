"""Git, as a process that never asks a question, and messages that name the cause of a failure."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dataflow_runtime.errors import DataflowError

__all__ = ["GitError", "cause", "environment", "git", "run", "without_credentials"]

# Git sets these inside a hook. They would send every call to the repository that the hook runs in.
_HOOK_VARIABLES = re.compile(
    "GIT_(ALTERNATE_.*|COMMON_DIR|DIR|INDEX_FILE|OBJECT_DIRECTORY|PREFIX|QUARANTINE_.*|WORK_TREE)"
)
# Line ends stay as committed, or Copier's patches do not apply. A signature needs its owner's key.
_SETTINGS = {"core.autocrlf": "false", "commit.gpgsign": "false"}


class GitError(DataflowError):
    """Git refused; the message is the reason that it gave."""


def git(folder: Path, *arguments: str | Path) -> str:
    """Run git in a folder and return what it prints.

    Raises:
        GitError: It failed, or is not installed.
    """
    try:
        finished = run(["git", *map(str, arguments)], folder, {"LC_ALL": "C.UTF-8"})
    except FileNotFoundError:
        raise GitError("git is not installed, or the folder is gone") from None
    if finished.returncode:
        reason = cause(finished.stderr) or f"exit code {finished.returncode}"
        raise GitError(f"git: {reason}")
    return finished.stdout.rstrip("\n")


def run(
    command: list[str], folder: Path, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder to its end, whatever its exit code; it cannot ask anything."""
    environ, nothing = {**environment({}), **variables}, subprocess.DEVNULL
    return subprocess.run(  # noqa: S603  no shell, and the programs are ours and git
        command, cwd=folder, env=environ, stdin=nothing, capture_output=True, encoding="utf-8"
    )


def environment(redirects: Mapping[str, Path]) -> dict[str, str]:
    """Return the environment in which git and Copier run.

    Args:
        redirects: URL to the local repository that git reads in its place.
    """
    variables = {name: os.environ[name] for name in os.environ if not _HOOK_VARIABLES.match(name)}
    settings = [*_SETTINGS.items()]
    settings += [(f"url.{path.as_uri()}.insteadOf", url) for url, path in redirects.items()]
    first = int(variables.get("GIT_CONFIG_COUNT") or 0)
    for number, (key, value) in enumerate(settings, start=first):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    variables["GIT_CONFIG_COUNT"] = str(first + len(settings))
    return variables | {"GIT_TERMINAL_PROMPT": "0"}


def cause(output: str) -> str:
    """Return why a program failed, in one line and without passwords.

    Git names the cause in its first paragraph; advice follows in the next ones.
    """
    paragraph = re.split(r"\n\s*\n", output.strip(), maxsplit=1)[0]
    advice = ("hint:", "warning:", "Unexpected exit code", "Command line")
    lines = [re.sub(r"^(Stderr:)?[\s|]*", "", line) for line in paragraph.splitlines()]
    lines = [line for line in lines if not line.startswith(advice)]
    return without_credentials("; ".join(lines))


def without_credentials(text: str) -> str:
    """Return text without the user and password of the URLs in it."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)
