"""What is installed, changed or removed while the server runs shows in the next answer."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dataflow_runtime.api.watch import Watch
from tests.integration.api.conftest import Api

JOB = """
from dagster import job
from dataflow_runtime import register_workflow


@register_workflow(name="{name}", metadata={{"description": "{description}", "owner": "me"}})
@job
def a_job() -> None: ...
"""
NO_INOTIFY = """
import ctypes


class CDLL(ctypes.CDLL):
    def __getattr__(self, name):
        if "inotify" in name:
            raise AttributeError(name)
        return super().__getattr__(name)


ctypes.CDLL = CDLL
"""
CONFIG = 'source: {{type: mock}}\nschedule:\n  cron: "{minute} 1 * * *"\n'


def write(site: Any, name: str, **more: Any) -> Any:
    files = {
        f"{name}/__init__.py": "",
        f"{name}/dagster_job.py": JOB.format(name=name, description="first"),
        f"{name}/config.yaml": CONFIG.format(minute=0),
    }
    return site.write(name, files, {name: f"{name}.dagster_job"}, **more)


def listed(api: Api) -> dict[str, Any]:
    return {entry["name"]: entry for entry in api.get("/workflows/")}


@pytest.fixture(params=["watched", "looked at"])
def api(site: Any, serve: Callable[..., Api], request: Any, tmp_path: Any) -> Api:
    if request.param == "watched":
        return serve()
    # A system without inotify: Python reads this module when it starts.
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(NO_INOTIFY)
    return serve(PYTHONPATH=f"{site.folder}:{tmp_path / 'start'}")


def test_every_change_shows_in_the_next_answer(site: Any, api: Api) -> None:
    assert listed(api) == {}
    folder = write(site, "early")
    assert listed(api)["early"]["description"] == "first"
    for number in range(10):
        # In place, of the same length, as fast as it goes: only the file's own time tells, if that.
        (folder / "dagster_job.py").write_text(JOB.format(name="early", description=f"{number:05}"))
        assert listed(api)["early"]["description"] == f"{number:05}"
        (folder / "config.yaml").write_text(CONFIG.format(minute=10 + number))
        assert listed(api)["early"]["schedule"] == f"{10 + number} 1 * * *"
    assert api.get("/configs/early")["config"]["processing"]["batch_size"] == 100_000
    (folder / "config.yaml").write_text("source: {type: mock}\nprocessing: {batch_size: 7}\n")
    assert api.get("/configs/early")["config"]["processing"]["batch_size"] == 7
    (folder / "config.test.yaml").write_text("processing: {batch_size: 8}\n")
    assert api.get("/configs/")[0]["environments"] == ["test"]
    assert api.get("/configs/early?env=test")["config"]["processing"]["batch_size"] == 8


def test_a_workflow_breaks_and_is_mended_and_removed(site: Any, api: Api) -> None:
    folder = write(site, "frail")
    assert listed(api)["frail"]["status"] == "ok"
    (folder / "dagster_job.py").write_text("def broken(:\n")
    assert listed(api)["frail"]["status"] == "broken"
    assert listed(api)["frail"]["error"].startswith("SyntaxError")
    assert api.get("/workflows/frail")["status"] == "broken"
    assert api.get("/configs/frail")["config"]["source"]["type"] == "mock"
    (folder / "dagster_job.py").unlink()
    assert listed(api)["frail"]["status"] == "broken"
    assert (
        api.get("/workflows/frail")["error"]
        == "module 'frail.dagster_job' of the entry point does not exist"
    )
    (folder / "dagster_job.py").write_text(JOB.format(name="frail", description="again"))
    assert listed(api)["frail"]["description"] == "again"
    (folder / "config.yaml").write_text("source: {type: moc}\n")
    assert api.problem("GET", "/configs/frail")[:2] == (409, "invalid-config")
    (folder / "config.yaml").unlink()
    assert api.problem("GET", "/configs/frail")[:2] == (409, "invalid-config")
    assert api.get("/workflows/frail")["config"] is None
    shutil.rmtree(site.folder / "frail-1.0.dist-info")
    assert listed(api) == {}
    assert api.problem("GET", "/workflows/frail")[:2] == (404, "unknown-workflow")
    assert api.problem("GET", "/configs/frail")[:2] == (404, "unknown-workflow")


def test_metadata_that_json_has_no_place_for(site: Any, serve: Callable[..., Api]) -> None:
    folder = write(site, "odd")
    (folder / "dagster_job.py").write_text(
        "register_workflow(name='odd', metadata={'description': 'half \\ud800', 'bytes': b'\\xff', 'set': {1},"
        " (1, 2): 1e999, 'deep': [{'complex': 1j, 3: ...}]})"
    )
    api = serve()
    assert listed(api)["odd"]["description"] == "half ?"
    assert api.get("/workflows/odd")["extra"] == {
        "bytes": "b'\\xff'",
        "set": [1],
        "(1, 2)": "inf",
        "deep": [{"complex": "1j", "3": "Ellipsis"}],
    }
    assert api.problem("POST", "/configs/odd/validate", headers={"Origin": "http://["})[:2] == (
        403,
        "cross-origin",
    )


def test_answers_are_whole_while_workflows_come_and_go(site: Any, api: Api) -> None:
    write(site, "steady")
    stop, found = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            found.append(listed(api).keys())

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(30):
        write(site, "guest")
        shutil.rmtree(site.folder / "guest-1.0.dist-info")
    stop.set()
    asking.join()
    assert all(names in ({"steady"}, {"steady", "guest"}) for names in found)
    assert listed(api).keys() == {"steady"}


def test_a_watch_that_cannot_be_is_never_quiet(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch([str(tmp_path / "file")])
    assert watch.quiet()
    (tmp_path / "file").touch()
    assert not watch.quiet()
    assert watch.quiet()
    watch.close()
    assert not watch.quiet()
