"""Shows the pipeline to Dagster as ops, assets and repositories, runs it, and reports on runs.

The only package that imports Dagster. It imports nothing from `cli`, `api` and `fleet`.
"""
