"""Builds one Evidence site from the dashboards of all installed workflows. Never imports dbt.

`export` reads each dashboard's rows from its warehouse, `health` collects what the site says about
each workflow, `project` lays out the Evidence project, `node` runs Node in it. `build` builds the
site from these, `dev` serves it while its files are edited. What the site itself consists of, and
what finds broken pages, is in `site/`.
"""
