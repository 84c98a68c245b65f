"""What is installed, changed or removed while the server runs shows within a second."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.api.conftest import Api, eventually

JOB = """
from dagster import job
from dataflow_runtime import register_workflow


@register_workflow(name="{name}", metadata={{"description": "{description}", "owner": "me"}})
@job
def a_job() -> None: ...
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


def fresh(api: Api) -> dict[str, Any]:
    """Return the list after the second that an answer may be old."""
    time.sleep(1.05)
    return listed(api)


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    return serve()


def test_every_change_shows_within_a_second(site: Any, api: Api) -> None:
    assert listed(api) == {}
    folder = write(site, "early")
    assert fresh(api)["early"]["description"] == "first"
    for number in range(3):
        # In place, of the same length.
        (folder / "dagster_job.py").write_text(JOB.format(name="early", description=f"{number:05}"))
        (folder / "config.yaml").write_text(CONFIG.format(minute=10 + number))
        entry = fresh(api)["early"]
        assert entry["description"] == f"{number:05}"
        assert entry["schedule"] == f"{10 + number} 1 * * *"
    assert api.get("/configs/early")["config"]["processing"]["batch_size"] == 100_000
    (folder / "config.yaml").write_text("source: {type: mock}\nprocessing: {batch_size: 7}\n")
    (folder / "config.test.yaml").write_text("processing: {batch_size: 8}\n")
    time.sleep(1.05)
    assert api.get("/configs/early")["config"]["processing"]["batch_size"] == 7
    assert api.get("/configs/")[0]["environments"] == ["test"]
    assert api.get("/configs/early?env=test")["config"]["processing"]["batch_size"] == 8


def test_a_workflow_breaks_is_repaired_and_removed(site: Any, api: Api) -> None:
    folder = write(site, "frail")
    assert listed(api)["frail"]["status"] == "ok"
    (folder / "dagster_job.py").write_text("def broken(:\n")
    entry = fresh(api)["frail"]
    assert entry["status"] == "broken"
    assert entry["error"].startswith("SyntaxError")
    assert api.get("/workflows/frail")["status"] == "broken"
    assert api.get("/configs/frail")["config"]["source"]["type"] == "mock"
    (folder / "dagster_job.py").unlink()
    assert fresh(api)["frail"]["status"] == "broken"
    assert (
        api.get("/workflows/frail")["error"]
        == "module 'frail.dagster_job' of the entry point does not exist"
    )
    (folder / "dagster_job.py").write_text(JOB.format(name="frail", description="again"))
    (folder / "config.yaml").write_text("source: {type: moc}\n")
    assert fresh(api)["frail"]["description"] == "again"
    assert api.problem("GET", "/configs/frail")[:2] == (409, "invalid-config")
    (folder / "config.yaml").unlink()
    time.sleep(1.05)
    assert api.problem("GET", "/configs/frail")[:2] == (409, "invalid-config")
    assert api.get("/workflows/frail")["config"] is None
    shutil.rmtree(site.folder / "frail-1.0.dist-info")
    assert fresh(api) == {}
    assert api.problem("GET", "/workflows/frail")[:2] == (404, "unknown-workflow")
    assert api.problem("GET", "/configs/frail")[:2] == (404, "unknown-workflow")


def test_metadata_that_json_has_no_type_for(site: Any, serve: Callable[..., Api]) -> None:
    folder = write(site, "odd")
    (folder / "dagster_job.py").write_text(
        "register_workflow(name='odd', metadata={'description': 'half \\ud800', 'bytes': b'\\xff',"
        " 'set': {1}, (1, 2): 1e999, 'deep': [{'complex': 1j, 3: ...}]})"
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

    eventually(lambda: listed(api))
    asking = threading.Thread(target=ask)
    asking.start()
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        write(site, "guest")
        shutil.rmtree(site.folder / "guest-1.0.dist-info")
    stop.set()
    asking.join()
    assert all(names in ({"steady"}, {"steady", "guest"}) for names in found)
    assert fresh(api).keys() == {"steady"}
