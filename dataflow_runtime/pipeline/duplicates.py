"""Keeps one row of each primary key in staged rows, before any warehouse sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from dataflow_runtime.pipeline.load.duckdb import BOUNDED, read_parquet
from dataflow_runtime.pipeline.warehouse import quoted

__all__ = ["drop_duplicates"]


def drop_duplicates(folder: Path, key: Sequence[str], cursor: str | None) -> int:
    """Keep one row of each key in the Parquet files of a folder; return how many are left out.

    The row with the newest cursor stays, one without a cursor's value last; of equal ones, and
    without a cursor, the row that comes last in the source.

    Args:
        folder: The files, all of one schema, named in the order of the source.
        key: Columns of the primary key.
        cursor: Column that says which version of a row is newer.
    """
    files = sorted(map(str, folder.glob("*.parquet")))
    if not files:
        return 0
    names, rows = ", ".join(map(quoted, key)), read_parquet(files)
    with duckdb.connect() as connection:
        connection.execute(f"{BOUNDED}; set temp_directory = '{folder}/spilled'")
        keys = f"select count(*) as versions from {rows} group by {names}"
        [(duplicates,)] = connection.execute(
            f"select coalesce(sum(versions - 1), 0)::bigint from ({keys}) where versions > 1"
        ).fetchall()
        if not duplicates:
            return 0
        newest = f"{quoted(cursor)} desc nulls last, " if cursor else ""
        connection.execute(
            f"copy (select * from {rows} qualify row_number() over (partition by {names}"
            f" order by {newest}filename desc, file_row_number desc) = 1)"
            f" to '{folder}/unique' (format parquet, compression lz4)"
        )
    for file in files:
        Path(file).unlink()
    Path(folder, "unique").rename(folder / "part-000000.parquet")
    return int(duplicates)
