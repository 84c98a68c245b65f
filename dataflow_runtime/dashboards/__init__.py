"""The dashboards of all installed workflows as one Evidence site.

`assembly` lays out one Evidence project from the workflows' ``evidence/`` folders, with the rows
that `export` reads from their warehouses; `node` finds Node and installs Evidence once; `build`
builds the site, `failures` finds errors that Evidence hides; `watch` serves it while its files are
edited; `assets` shows it to Dagster.
"""
