import os

import polars as pl

from orders.chaos import moment

CHECKS = {"amount_positive": pl.col("amount") > 0}


def transform(rows: pl.DataFrame) -> pl.DataFrame:
    moment("transform")
    if message := os.environ.get("ORDERS_BUG"):
        raise KeyError(message)
    return rows.with_columns(pl.col("status").str.to_lowercase())
