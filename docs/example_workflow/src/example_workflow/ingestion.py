"""Where rows come from: the feed of the USGS as a file or an API, or generated earthquakes."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from dataflow_runtime.config import WorkflowConfig
from dataflow_runtime.pipeline.frames import from_records
from dataflow_runtime.pipeline.sources import read_source


def extract(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield the events of the configured source: a column for each property, and the geometry as JSON text."""
    if config.source.type == "mock":
        yield from _generate(config)
        return
    for batch in read_source(config):
        yield _flatten(batch) if "properties" in batch.columns else batch


def _flatten(features: pl.DataFrame) -> pl.DataFrame:
    """Turn the API's features, whose properties are JSON text, into what the file reader makes of them."""
    return from_records(
        {"id": id_, **json.loads(properties), "geometry": geometry}
        for id_, properties, geometry in features.select("id", "properties", "geometry").iter_rows()
    )


def _generate(config: WorkflowConfig) -> Iterator[pl.DataFrame]:
    """Yield events as the feed would hold them; the runtime's own generator knows nothing of magnitudes and places."""
    mock = config.source.mock
    rng = random.Random(mock.seed)
    for start in range(0, mock.rows, config.processing.batch_size):
        numbers = range(start, min(start + config.processing.batch_size, mock.rows))
        yield from_records([_event(number, rng, bad_ratio=mock.bad_ratio) for number in numbers])


def _event(number: int, rng: random.Random, *, bad_ratio: float) -> dict[str, Any]:
    time = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=5 * number)
    # Gutenberg and Richter: each magnitude is ten times as frequent as the next.
    magnitude = round(rng.expovariate(2.3) - 0.5, 1)
    # Spread evenly, so that the share is met exactly and not by luck.
    is_bad = int((number + 1) * bad_ratio) > int(number * bad_ratio)
    depth = -1.0 if is_bad else round(min(rng.expovariate(0.05), 700), 2)
    coordinates = [round(rng.uniform(-180, 180), 4), round(rng.uniform(-90, 90), 4), depth]
    return {
        "id": f"mock{number:08}",
        "mag": min(magnitude, 9.5),
        "magType": "ml",
        "place": "somewhere",
        "time": int(time.timestamp() * 1000),
        "updated": int((time + timedelta(minutes=rng.randint(1, 600))).timestamp() * 1000),
        "type": rng.choices(["earthquake", "quarry blast", "explosion"], weights=[98, 1, 1])[0],
        "status": rng.choice(["automatic", "reviewed"]),
        "net": rng.choice(["ak", "ci", "nc", "us"]),
        "nst": rng.randint(3, 120),
        "gap": float(rng.randint(13, 340)),
        "rms": round(rng.uniform(0, 1.5), 2),
        "sig": rng.randint(0, 800),
        "tsunami": 0,
        "felt": None,
        "url": None,
        "geometry": json.dumps({"type": "Point", "coordinates": coordinates}),
    }
