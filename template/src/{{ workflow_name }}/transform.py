"""What happens to rows between source and warehouse: pure functions on Polars."""

from datetime import UTC, datetime

import polars as pl

# A row for which one of these is false is not loaded: it goes to the table of rejected rows, under the check's name.
# A null passes. `primary_key` and the types of `processing.columns` are checked without a line here.
CHECKS: dict[str, pl.Expr] = {
    "value_not_negative": pl.col("value") >= 0,
    "occurred_at_since_2000": pl.col("occurred_at") >= datetime(2000, 1, 1, tzinfo=UTC),
}


def transform(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return the rows as they are loaded: every category in one spelling. Polars runs it over all rows in one pass."""
    return rows.with_columns(pl.col("category").str.strip_chars().str.to_lowercase())
