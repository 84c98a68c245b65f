"""The site's own pages: the list of all workflows, and pages in place of broken dashboards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from dataflow_runtime.config.secrets import mask
from dataflow_runtime.dashboards.export import write_parquet
from dataflow_runtime.dashboards.model import SITE_SOURCE, Dashboard
from dataflow_runtime.orchestration.listing import describe, has_instance, last_run
from dataflow_runtime.settings import get_settings

__all__ = ["home_page", "placeholder", "write_tables"]

_WORKFLOWS = {
    "workflow": "varchar",
    "description": "varchar",
    "owner": "varchar",
    "schedule": "varchar",
    "dashboard": "varchar",
    "note": "varchar",
    "last_run": "timestamp",
    "last_status": "varchar",
    "last_seconds": "double",
    "row_count": "bigint",
    "rejected_count": "bigint",
    "link": "varchar",
}
_PROBLEMS = {"workflow": "varchar", "file": "varchar", "query": "varchar", "message": "varchar"}

_SAID = {
    "ok": "built",
    "not run": "not run yet",
    "none": "none",
    "broken": "broken",
}


def write_tables(dashboards: Sequence[Dashboard], data: Path) -> None:
    """Write the tables ``workflows`` and ``problems``: what the site knows about the dashboards."""
    data.mkdir(parents=True, exist_ok=True)
    runs = _last_runs(dashboards)
    _write(
        data / "workflows.parquet",
        _WORKFLOWS,
        [_row(dashboard, runs.get(dashboard.name)) for dashboard in dashboards],
    )
    problems = [
        # Where the files of the machine stand is not a reader's business.
        (
            dashboard.name,
            problem.file.name if problem.file else None,
            problem.query,
            mask(problem.message),
        )
        for dashboard in dashboards
        for problem in dashboard.problems
    ]
    _write(data / "problems.parquet", _PROBLEMS, problems)


def _last_runs(dashboards: Sequence[Dashboard]) -> dict[str, dict[str, Any] | None]:
    if not has_instance():
        return {}
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(get_settings().dagster_home)) as instance:
        return {dashboard.name: last_run(instance, dashboard.name) for dashboard in dashboards}


def _row(dashboard: Dashboard, run: dict[str, Any] | None) -> tuple[Any, ...]:
    entry, run = describe(dashboard.workflow), run or {}
    return (
        dashboard.name,
        entry.description,
        entry.owner,
        entry.schedule,
        _SAID[dashboard.status],
        dashboard.note,
        run.get("started"),
        run.get("status"),
        run.get("seconds"),
        dashboard.rows,
        dashboard.rejected,
        None if dashboard.name_problem else f"/{dashboard.name}",
    )


def _write(file: Path, columns: dict[str, str], rows: Sequence[Sequence[Any]]) -> None:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(
            f"create table rows ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
        )
        if rows:
            placeholders = ", ".join("?" * len(columns))
            connection.executemany(f"insert into rows values ({placeholders})", rows)  # noqa: S608
        write_parquet(connection.table("rows"), file)


def home_page(title: str) -> str:
    """Return the page that lists all workflows."""
    return f"""---
title: {json.dumps(title)}
hide_toc: true
---

<script>
    import Workflows from '$lib/{SITE_SOURCE}/Workflows.svelte';
</script>

```sql workflows
select * from {SITE_SOURCE}.workflows order by workflow
```

```sql totals
select
    count(*) as workflow_count,
    coalesce(sum(row_count), 0) as row_count,
    coalesce(sum(rejected_count), 0) as rejected_count
from {SITE_SOURCE}.workflows
```

<BigValue data={{totals}} value=workflow_count title="Workflows" fmt=num0 />
<BigValue data={{totals}} value=row_count title="Rows" fmt=num0 />
<BigValue data={{totals}} value=rejected_count title="Rejected rows" fmt=num0 />

<Workflows data={{workflows}} />
"""  # noqa: S608 - constants


def placeholder(dashboard: Dashboard) -> str:
    """Return a page that says why there is no dashboard."""
    said = {
        "not run": "This workflow has not run yet: its tables do not exist. "
        "The dashboard appears after its first run.",
        "none": "This workflow has no dashboard.",
        "broken": "This dashboard is broken. The owner needs to fix:",
    }[dashboard.status]
    page = f"""---
title: {json.dumps(dashboard.name)}
---

<Alert status="{"negative" if dashboard.status == "broken" else "info"}">{said}</Alert>
"""
    if dashboard.status != "broken":
        return page
    return f"""{page}
```sql problems
select file, query, message from {SITE_SOURCE}.problems where workflow = '{dashboard.name}'
```

<DataTable data={{problems}} rows=all>
    <Column id=file />
    <Column id=query />
    <Column id=message wrap=true />
</DataTable>
"""  # noqa: S608 - the name is an identifier
