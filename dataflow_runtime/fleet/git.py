"""Git, as a process. It never asks for a password, and no URL with one gets into a message."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dataflow_runtime.errors import DataflowError
from dataflow_runtime.fleet.process import last_line, run

__all__ = ["GitError", "git", "redirected"]


class GitError(DataflowError):
    """Git refused; the message is the last line of what it said."""


def git(folder: Path, *arguments: str | Path) -> str:
    """Run git in a folder and return what it prints.

    Raises:
        GitError: It failed, or is not there.
    """
    try:
        finished = run(["git", *arguments], folder, {"LC_ALL": "C.UTF-8"})
    except FileNotFoundError:
        raise GitError("git is not installed") from None
    if finished.returncode:
        reason = last_line(finished.stderr) or f"exit code {finished.returncode}"
        command = next(str(argument) for argument in arguments if not str(argument).startswith("-"))
        raise GitError(f"git {command}: {reason}")
    return finished.stdout.rstrip("\n")


def redirected(url: str, folder: Path) -> Mapping[str, str]:
    """Return the environment in which git takes what `url` names from a repository in `folder`."""
    number = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    return {
        "GIT_CONFIG_COUNT": str(number + 1),
        f"GIT_CONFIG_KEY_{number}": f"url.{folder.as_uri()}.insteadOf",
        f"GIT_CONFIG_VALUE_{number}": url,
    }
