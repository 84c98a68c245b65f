import os

import polars as pl

from orders.chaos import kill_at

CHECKS = {"amount_positive": pl.col("amount") > 0}

_batches = iter(range(1_000_000))


def transform(rows: pl.DataFrame) -> pl.DataFrame:
    if next(_batches) == 1:
        kill_at("transform")
    if message := os.environ.get("ORDERS_BUG"):
        raise KeyError(message)
    return rows.with_columns(pl.col("status").str.to_lowercase())
