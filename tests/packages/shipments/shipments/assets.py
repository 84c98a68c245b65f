import polars as pl

from dataflow_runtime import pipeline_assets
from dataflow_runtime.pipeline.sources import read_source

assets = pipeline_assets(
    "shipments",
    extract=read_source,
    transform=lambda rows: rows,
    checks={"weight_below_100": pl.col("weight") < 100},
)
