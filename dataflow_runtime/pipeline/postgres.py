"""dlt's PostgreSQL destination, with copies that stream, and a replacement that is one transaction.

dlt reads a file into memory before it copies it, which fails for one without rows. And its ways to replace a table
either empty it in a transaction before (readers see no rows, and a killed load leaves it so), write all rows a second
time from a staging table, or drop the table, which dbt's views stand on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adbc_driver_postgresql  # noqa: F401  # without it dlt takes to CSV, slowly, and '' becomes null
import dlt
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.common.destination.exceptions import DestinationTerminalException
from dlt.destinations.impl.postgres.postgres import PostgresClient, PostgresParquetCopyJob

__all__ = ["Postgres"]


class _Copy(PostgresParquetCopyJob):
    def __init__(self, file_path: str, *, replace: bool) -> None:
        super().__init__(file_path)
        self._replace = replace

    def run(self) -> None:
        table = self.load_table_name
        if (
            self._replace
            and len(list(Path(self._file_path).parent.parent.glob(f"*/{table}.*.parquet"))) > 1
        ):
            raise DestinationTerminalException(
                f"{table}: more than one file to replace the table by"
            )
        _, schema = self._set_catalog_and_schema()
        with (
            pq.ParquetFile(self._file_path) as file,
            self._connect() as connection,
            connection.cursor() as cursor,
        ):
            if self._replace:
                cursor.execute(
                    f"truncate {self._job_client.sql_client.make_qualified_table_name(table)}"
                )
            rows = pa.RecordBatchReader.from_batches(file.schema_arrow, _pieces(file))
            cursor.adbc_ingest(table, rows, mode="append", db_schema_name=schema)
            connection.commit()


_PIECE = 64 * 1024
"""Bytes: what fits into a socket's buffer, so that the server takes up a piece while the next one is made ready."""


def _pieces(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    for batch in file.iter_batches():
        rows = max(1, batch.num_rows * _PIECE // max(1, batch.nbytes))
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


class _Client(PostgresClient):
    def should_truncate_table_before_load(self, table_name: str) -> bool:
        return False

    def create_load_job(
        self, table: Any, file_path: str, load_id: str, restore: bool = False
    ) -> Any:
        job = super().create_load_job(table, file_path, load_id, restore)
        if isinstance(job, PostgresParquetCopyJob):
            return _Copy(file_path, replace=table["write_disposition"] == "replace")
        return job


class Postgres(dlt.destinations.postgres):
    """The destination; takes what dlt's own takes, and needs its replace strategy ``truncate-and-insert``."""

    @property
    def client_class(self) -> type[PostgresClient]:
        """The client, which makes the jobs."""
        return _Client
