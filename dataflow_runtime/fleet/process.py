"""Programs that the fleet commands start: git, copier, and checks in a process of their own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["last_line", "run", "without_credentials"]

# Set inside a git hook; they would send every call to the repository that the hook runs in.
_OF_A_HOOK = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"}


def run(
    command: Sequence[str | Path], folder: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder to its end, whatever its exit code; nothing is asked on a terminal."""
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    environment |= {"GIT_TERMINAL_PROMPT": "0", **(variables or {})}
    return subprocess.run(  # noqa: S603  no shell, and the programs are ours and git
        [*map(str, command)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def last_line(output: str) -> str:
    """Return the last line of a program's output that says something, without passwords."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return without_credentials(lines[-1]) if lines else ""


def without_credentials(text: str) -> str:
    """Return text without the user and password of the URLs in it."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)
