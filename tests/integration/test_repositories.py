"""One Dagster repository per workflow: webserver, daemon and command line on 16 workflows.

The processes are those of ``dev``, shared by the tests of this module.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dataflow_runtime.orchestration._dagster import running_schedules
from dataflow_runtime.orchestration.listing import RUN_TAG
from tests.conftest import PACKAGES
from tests.integration.dagster_ui import DagsterUI, eventually, free_port

pytestmark = pytest.mark.e2e

# The job is word for word the example of the spec, section 2.2, but for the place of the import.
BY_HAND = '''\
from dagster import job, op

from dataflow_runtime import register_workflow


@op
def extract_op():
    return [1, 2, 3]


@op
def transform_op(rows):
    return [row * 2 for row in rows]


@op
def load_op(rows):
    assert sum(rows) == 12


@register_workflow(
    name="example_workflow",
    metadata={
        "description": "Example workflow for data processing",
        "owner": "data-team",
        "schedule": "0 * * * *",  # Every hour
        "tags": ["example", "template"],
    },
)
@job
def example_workflow_job():
    """Main job for the example workflow."""
    load_op(transform_op(extract_op()))
'''
CONFIG = 'source: { name: "example_source", type: mock }\n'
JOB_BY_HAND = "example_workflow_job"

HAND_WRITTEN = [f"hand_written_{number}" for number in range(10)]
RENDERED = [f"shipments_{number}" for number in range(5)]
TICKING = (HAND_WRITTEN[9], RENDERED[4])


class Dev(DagsterUI):
    """The processes of ``dev``, and the site whose workflows they serve."""

    def __init__(self, url: str, site: Any, process: subprocess.Popen[bytes]) -> None:
        super().__init__(url)
        self.site, self.process = site, process


def write_hand_written(site: Any, name: str, code: str = BY_HAND) -> None:
    files = {
        f"{name}/dagster_job.py": code.replace('"example_workflow"', f'"{name}"'),
        f"{name}/config.yaml": CONFIG,
    }
    site.write(name, files, {name: f"{name}.dagster_job"})


def write_rendered(site: Any, name: str) -> None:
    """Install `shipments` under another name, as the template would render it for that name."""
    package = PACKAGES / "shipments"
    files = {
        str(path.relative_to(package)).replace("shipments", name): path.read_text().replace(
            "shipments", name
        )
        for path in package.glob("shipments/**/*.*")
        if path.suffix != ".pyc"
    }
    site.write(name, files, {name: f"{name}.dagster_job"})


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory, site_type: Any) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("repositories")
    site = site_type(folder / "site", folder / "home")
    for name in HAND_WRITTEN:
        write_hand_written(site, name)
    for name in RENDERED:
        write_rendered(site, name)
    for name in TICKING:
        site.environ[f"DATAFLOW__{name.upper()}__SCHEDULE__CRON"] = "* * * * *"
    broken = BY_HAND.replace("    return [1, 2, 3]", "    return [1, 2, 3")
    write_hand_written(site, "unfinished", broken)
    port = free_port()
    command = [Path(sysconfig.get_path("scripts")) / "dataflow-runtime", "dev", "--port", str(port)]
    log = folder / "dev.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, env=site.environ, cwd=folder, stdout=file, stderr=file, start_new_session=True
        )
    dev = Dev(f"http://127.0.0.1:{port}", site, process)
    try:

        def is_up() -> bool:
            assert process.poll() is None, log.read_text()
            return dev.is_up()

        eventually(is_up, "the UI")
        for name in TICKING:
            dev.start_schedule(name, f"{name}_schedule")
        yield dev
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def job_of(name: str) -> str:
    return JOB_BY_HAND if name in HAND_WRITTEN else f"{name}_job"


def test_workflows_with_the_same_ops_and_jobs_load_in_one_location(dev: Dev) -> None:
    names = [*HAND_WRITTEN, *RENDERED]
    repositories = dev.repositories()
    assert {name: repositories.get(name) for name in names} == {
        name: {job_of(name)} for name in names
    }
    assert all(dev.assets(name) == {} for name in HAND_WRITTEN)
    for name in RENDERED:
        assert set(dev.assets(name)) == {
            f"{name}/raw/{name}",
            f"{name}/raw/{name}_rejected",
            f"{name}/stg_{name}",
        }


@pytest.mark.parametrize("name", [HAND_WRITTEN[0], RENDERED[0]])
def test_one_runs_from_the_command_line(dev: Dev, name: str) -> None:
    report = dev.site.json("run", name)
    assert (report["workflow"], report["status"]) == (name, "success"), report
    (run,) = dev.runs(runIds=[report["run_id"]])
    assert (run["jobName"], run["status"]) == (job_of(name), "SUCCESS")


def test_both_kinds_run_from_the_ui(dev: Dev) -> None:
    run_ids = [dev.launch(name, job_of(name)) for name in (HAND_WRITTEN[1], RENDERED[1])]
    assert [dev.ended(run_id) for run_id in run_ids] == ["SUCCESS", "SUCCESS"]


def test_a_run_of_chosen_assets_has_the_tag_by_which_runs_of_its_workflow_queue(dev: Dev) -> None:
    name = RENDERED[2]
    run_id = dev.launch(name, "__ASSET_JOB", [f"{name}/raw/{name}", f"{name}/raw/{name}_rejected"])
    (run,) = dev.runs(runIds=[run_id])
    assert {"key": RUN_TAG, "value": name} in run["tags"]
    assert dev.ended(run_id) == "SUCCESS"


def test_a_broken_workflow_shows_why_until_it_is_mended_and_reloaded(dev: Dev) -> None:
    assets = dev.assets("unfinished")
    assert set(assets) == {"unfinished/broken"}
    module = dev.site.folder / "unfinished" / "dagster_job.py"
    assert "workflow 'unfinished' (unfinished 1.0) is broken" in assets["unfinished/broken"]
    assert f"{module}:8" in assets["unfinished/broken"]
    assert dev.repositories()["unfinished"] == set()

    module.write_text(BY_HAND.replace('"example_workflow"', '"unfinished"'))
    dev.reload()
    assert dev.assets("unfinished") == {}
    assert dev.repositories()["unfinished"] == {JOB_BY_HAND}
    assert dev.ended(dev.launch("unfinished", JOB_BY_HAND)) == "SUCCESS"
    assert dev.process.poll() is None


def test_both_kinds_run_on_a_tick_of_their_schedule(dev: Dev) -> None:
    for name in TICKING:
        tag = {"key": "dagster/schedule_name", "value": f"{name}_schedule"}
        tick = eventually(lambda tag=tag: dev.runs(tags=[tag]), f"a tick of {name}")[-1]
        assert tick["jobName"] == job_of(name)
        assert dev.ended(tick["runId"]) == "SUCCESS"
        assert {"key": RUN_TAG, "value": name} in tick["tags"]
    with dg.DagsterInstance.from_config(dev.site.environ["DATAFLOW_HOME"] + "/dagster") as instance:
        assert running_schedules(instance) == {f"{name}_schedule" for name in TICKING}
