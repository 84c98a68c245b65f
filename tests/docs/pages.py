"""Reads pages of the documentation and follows them: writes their files, runs their commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(
    r"(?:^ *`(?P<file>[\w./{}-]+)`\n\n)?"
    r"(?:^ *<!-- not run here: (?P<reason>[^>]+) -->\n\n)?"
    r"^(?P<indent> *)(?P<marks>`{3,})(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)(?P=marks)$",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A block of code.

    Attributes:
        language: What stands after the fence.
        text: The code, without the fence's indentation.
        file: The path that the line above names, else empty.
        reason: Why its commands are not run, else empty.
    """

    language: str
    text: str
    file: str
    reason: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in their order."""
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        lines = match["text"].splitlines(keepends=True)
        text = "".join(line.removeprefix(match["indent"]) for line in lines)
        yield Block(match["language"], text, match["file"] or "", match["reason"] or "")


def script(page: Path) -> str:
    """Return a page as one shell script; the output of each block begins with a line ``@@``."""
    parts = []
    for block in blocks(page):
        if block.file:
            folder = shlex.quote(str(Path(block.file).parent))
            parts.append(
                f"mkdir -p {folder}\ncat > {shlex.quote(block.file)} <<'@@'\n{block.text}@@"
            )
        elif block.language == "bash" and not block.reason:
            parts.append(f"echo @@ >&2\n{block.text}")
    return "\n".join(parts)


def follow(page: Path, folder: Path, environ: Mapping[str, str], prelude: str = "") -> str:
    """Do in a folder what a page says, and compare what it shows with what is printed.

    Returns:
        Everything that was printed.

    Raises:
        AssertionError: A command fails, or does not print a line of the ``text`` block below it.
    """
    outcome = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{prelude}\n{script(page)}"],
        cwd=folder,
        env=dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout[-5000:]
    _, *printed = re.split(r"(?m)^@@\n", outcome.stdout)
    shown: list[str] = []
    has_run = False
    for block in blocks(page):
        if block.language == "bash" and not block.file:
            has_run = not block.reason
            shown += [""] if has_run else []
        elif block.language == "text" and has_run:
            shown[-1] += block.text
    assert len(shown) == len(printed)
    for expected, found in zip(shown, printed, strict=True):
        lines = {" ".join(line.split()) for line in found.splitlines()}
        missing = [
            line for line in expected.splitlines() if line and " ".join(line.split()) not in lines
        ]
        assert missing == [], found
    return outcome.stdout


def variables(home: Path) -> dict[str, str]:
    """Return the environment of a new terminal: nothing of the runtime's is set."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DATAFLOW_", "DAGSTER_", "VIRTUAL_ENV", "PYTHON", "UV_"))
    }
    scripts = sysconfig.get_path("scripts")
    path = ":".join(part for part in kept["PATH"].split(":") if part != scripts)
    return kept | {"PATH": path, "HOME": str(home), "COLUMNS": "100", "NO_COLOR": "1"}
