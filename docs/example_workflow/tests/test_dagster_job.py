"""The whole job on the snapshot, on a real warehouse: extract, transform, load, dbt build."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataflow_runtime import run_workflow
from dataflow_runtime.config import WorkflowConfig

Query = Callable[[str], list[tuple[Any, ...]]]

# The week holds 43 events above the ground, with a depth below zero.
SNAPSHOT = "data/usgs-earthquakes-2018-02.geojson"
EXTRACTED, REJECTED, LOADED = 1707, 43, 1664
RAW, MARTS = "example_workflow_raw.example_workflow", "example_workflow_marts"


def test_a_run_loads_the_week_and_builds_the_models(query: Query) -> None:
    report = run_workflow("example_workflow")

    assert report.error is None
    assert report.rows == {"extracted": EXTRACTED, "rejected": REJECTED, "loaded": LOADED}
    assert report.rejected_by == {"depth_range": REJECTED}
    assert report.dbt["models"] == 4
    assert report.dbt["failed"] == []
    assert query(f"select count(*), count(distinct id) from {RAW}") == [(LOADED, LOADED)]
    assert query(f"select count(*), min(checks) from {RAW}_rejected") == [(REJECTED, "depth_range")]
    daily = f"select sum(event_count), count(distinct occurred_on) from {MARTS}.fct_earthquakes_daily"
    assert query(daily) == [(LOADED, 8)]
    strongest = f"select magnitude, place from {MARTS}.fct_strongest_earthquakes where strength_rank = 1"
    assert query(strongest) == [(6.4, "22km NNE of Hualian, Taiwan")]


def test_a_second_run_reads_the_newest_events_again_and_leaves_every_row_once(query: Query) -> None:
    run_workflow("example_workflow")
    again = run_workflow("example_workflow")

    assert again.error is None
    assert 0 < again.rows["extracted"] < EXTRACTED
    assert query(f"select count(*), count(distinct id) from {RAW}") == [(LOADED, LOADED)]
    assert query(f"select count(*) from {RAW}_rejected") == [(REJECTED,)]


def test_a_revised_event_replaces_its_version_in_the_incremental_model(
    config: WorkflowConfig, query: Query, tmp_path: Path
) -> None:
    first = run_workflow("example_workflow")
    newest = query(f"select id, updated from {RAW} order by updated desc limit 1")[0][0]
    feed = json.loads((config.root / SNAPSHOT).read_text())
    revised = next(event for event in feed["features"] if event["id"] == newest)
    revised["properties"] |= {"mag": 9.5, "updated": revised["properties"]["updated"] + 1000}
    (tmp_path / "revised.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [revised]}))
    again = run_workflow("example_workflow", overrides={"source.file.path": str(tmp_path / "revised.geojson")})

    assert (first.error, again.error) == (None, None)
    assert again.rows == {"extracted": 1, "rejected": 0, "loaded": 1}
    fact = f"{MARTS}.fct_earthquakes"
    assert query(f"select count(*), count(distinct event_id) from {fact}") == [(LOADED, LOADED)]
    assert query(f"select magnitude from {fact} where event_id = '{newest}'") == [(9.5,)]


def test_generated_events_run_through_the_same_job(query: Query) -> None:
    overrides = {"source.type": "mock", "source.mock.rows": 300, "source.mock.bad_ratio": 0.1}
    report = run_workflow("example_workflow", overrides=overrides)

    assert report.error is None
    assert report.rows == {"extracted": 300, "rejected": 30, "loaded": 270}


def test_every_query_of_the_dashboard_finds_its_rows(config: WorkflowConfig, query: Query) -> None:
    run_workflow("example_workflow")
    queries = {file.stem: file.read_text() for file in (config.root / "evidence" / "sources").glob("*.sql")}
    rows = {name: query(sql) for name, sql in queries.items()}

    assert len(rows["events"]) == LOADED
    assert len(rows["strongest"]) == 25
    assert rows["rejected"][0][:2] == ("depth_range", REJECTED)
    assert rows["quality"][0][0] == LOADED
    assert sum(row[2] for row in rows["daily"]) == LOADED
