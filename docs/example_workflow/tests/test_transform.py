"""transform and CHECKS: pure functions, tried on a few events."""

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from example_workflow.transform import CHECKS, transform

TIME = datetime(2018, 2, 1, tzinfo=UTC)
GOOD = {
    "id": "good",
    "mag": 2.5,
    "magType": "ml",
    "place": "9km NE of Aguanga, CA",
    "time": TIME,
    "updated": TIME.replace(hour=1),
    "type": "earthquake",
    "status": "reviewed",
    "net": "ci",
    "nst": 20,
    "gap": 50.0,
    "rms": 0.1,
    "sig": 100,
    "tsunami": False,
    "felt": 3,
    "url": "https://earthquake.usgs.gov/earthquakes/eventpage/good",
    "geometry": json.dumps({"type": "Point", "coordinates": [-116.8, 33.4, 4.2]}),
}


def events(*changes: dict[str, Any]) -> pl.DataFrame:
    """Return the good event and a changed copy of it for each of `changes`, as parsed by processing.columns."""
    schema = pl.DataFrame([GOOD]).schema
    return pl.DataFrame([GOOD, *({**GOOD, "id": "changed", **change} for change in changes)], schema=schema)


def transformed(rows: pl.DataFrame) -> pl.DataFrame:
    return transform(rows.lazy()).collect()


def point(*coordinates: float | None) -> dict[str, str]:
    return {"geometry": json.dumps({"type": "Point", "coordinates": coordinates})}


def refused_by(change: dict[str, Any]) -> list[str]:
    rows = transformed(events(change))
    assert rows.filter(pl.any_horizontal(~check for check in CHECKS.values()))["id"].to_list() in ([], ["changed"])
    return [name for name, check in CHECKS.items() if rows.filter(~check).height]


def test_the_geometry_becomes_columns() -> None:
    row = transformed(events()).row(0, named=True)
    assert (row["longitude"], row["latitude"], row["depth_km"]) == (-116.8, 33.4, 4.2)
    assert "geometry" not in row


def test_columns_get_names_that_need_no_glossary() -> None:
    row = transformed(events()).row(0, named=True)
    assert (row["magnitude"], row["magnitude_type"], row["event_type"]) == (2.5, "ml", "earthquake")
    assert row["occurred_at"] == TIME


def test_properties_without_use_are_dropped_where_they_are() -> None:
    assert transformed(events()).columns == transformed(events().with_columns(tz=pl.lit(-480), ids=pl.lit(","))).columns


def test_transform_takes_no_rows() -> None:
    assert transformed(events().clear()).is_empty()


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        ({"mag": -1.1}, ["magnitude_range"]),
        ({"mag": 10.5}, ["magnitude_range"]),
        (point(-181, 0, 1), ["coordinates_range"]),
        (point(0, 90.1, 1), ["coordinates_range"]),
        (point(0, 0, -0.1), ["depth_range"]),
        (point(0, 0, 1000.5), ["depth_range"]),
        (point(None, None, 1), ["coordinates_known"]),
        ({"geometry": None}, ["coordinates_known"]),
        ({"geometry": "no JSON"}, ["coordinates_known"]),
        ({"updated": TIME.replace(year=2017)}, ["occurred_before_update"]),
        (point(500, 0, -3) | {"mag": 11.0}, ["magnitude_range", "coordinates_range", "depth_range"]),
    ],
)
def test_an_impossible_event_is_refused(change: dict[str, Any], checks: list[str]) -> None:
    assert refused_by(change) == checks


@pytest.mark.parametrize(
    "change",
    [
        {"mag": -0.8},
        {"mag": None},
        point(-180, -90, 0),
        point(180, 90, 1000),
        point(0, 0, None),
        point(0, 0),
        {"updated": TIME},
        {"updated": None},
    ],
)
def test_an_event_at_the_edge_or_with_a_gap_passes(change: dict[str, Any]) -> None:
    assert refused_by(change) == []
