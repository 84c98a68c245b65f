"""What happens to events between source and warehouse: pure functions on Polars."""

import polars as pl

# The feed's other properties, of which the models make no use.
UNUSED = ["alert", "cdi", "code", "detail", "dmin", "ids", "mmi", "sources", "title", "types", "tz"]

# An event for which one of these is false is not loaded: it goes to the table of rejected rows, under the check's name.
# A null passes. The ranges of magnitude and depth are the typical values of the feed's glossary:
# https://earthquake.usgs.gov/data/comcat/index.php
CHECKS: dict[str, pl.Expr] = {
    "magnitude_range": pl.col("magnitude").is_between(-1, 10),
    "coordinates_known": pl.all_horizontal(pl.col("longitude", "latitude").is_not_null()),
    "coordinates_range": pl.col("longitude").is_between(-180, 180) & pl.col("latitude").is_between(-90, 90),
    "depth_range": pl.col("depth_km").is_between(0, 1000),
    "occurred_before_update": pl.col("occurred_at") <= pl.col("updated"),
}


def transform(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return the events as they are loaded: the geometry as columns of its own, names that need no glossary."""
    return (
        rows.with_columns(longitude=_coordinate(0), latitude=_coordinate(1), depth_km=_coordinate(2))
        .rename({"mag": "magnitude", "magType": "magnitude_type", "time": "occurred_at", "type": "event_type"})
        .rename({"net": "network", "nst": "station_count", "gap": "gap_degrees", "rms": "rms_seconds"})
        .rename({"sig": "significance", "felt": "felt_reports"})
        .drop("geometry")
        .drop(UNUSED, strict=False)
    )


def _coordinate(position: int) -> pl.Expr:
    """Return a coordinate of the GeoJSON point, null where there is none."""
    return pl.col("geometry").str.json_path_match(f"$.coordinates[{position}]").cast(pl.Float64, strict=False)
