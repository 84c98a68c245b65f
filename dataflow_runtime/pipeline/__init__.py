"""The pipeline that every workflow runs: extract, transform, load, dbt build.

`sources` yields rows, `staging` keeps them as Parquet between the steps, `checks` parts good rows from rejected ones,
`load` moves them into the warehouse, `dbt` builds and tests the models; `steps` puts these in order, and `ops` and
`assets` show the steps to Dagster.
"""

import os

# A column is called in the warehouse what `transform` called it; dlt would write `magType` as `mag_type`.
os.environ.setdefault("SCHEMA__NAMING", "direct")
os.environ.setdefault("RUNTIME__LOG_LEVEL", "ERROR")
