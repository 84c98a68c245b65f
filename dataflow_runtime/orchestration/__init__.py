"""Shows the pipeline to Dagster: ops, assets, schedules, one repository per workflow; runs them and reports on runs.

The only package that imports Dagster. It imports none of `cli`, `api` and `fleet`.
"""
