"""The pipeline that every workflow runs: extract, transform, load, dbt build. Without Dagster.

`sources` yields rows, `staging` keeps them as Parquet between the steps, `checks` splits good rows
from rejected ones, `load` moves them into the warehouse, `dbt` builds and tests the models, and
`steps` puts these in order. It imports neither Dagster nor anything above.
"""
