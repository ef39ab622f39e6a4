"""Statements about metrics: series, values that wait, buckets."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mesh.db import Row, Transaction
from services.analytics.buckets import Segment, Summary
from services.analytics.sketch import Sketch


class Sample(NamedTuple):
    """One value of a series."""

    series_id: int
    time_us: int
    value: float


class Bucket(NamedTuple):
    """One bucket of a series, with the series' labels."""

    labels: str
    start_us: int
    summary: Summary


class Metric(NamedTuple):
    """A metric's name, number of series, oldest and newest time."""

    name: str
    series_count: int
    first_us: int
    last_us: int


async def find_series(tx: Transaction, name: str, labels: str) -> int | None:
    """Id of a series; None when there is none."""
    row = await tx.fetch_one(
        "SELECT series_id FROM series WHERE name = :name AND labels = :labels", {"name": name, "labels": labels}
    )
    return int(row["series_id"]) if row else None


async def touch_series(tx: Transaction, name: str, labels: str, latency: bool, first_us: int, last_us: int) -> int:
    """Id of a series, made when there is none; its first and last time grow to hold these."""
    row = await tx.fetch_one(
        "INSERT INTO series (name, labels, latency, first_us, last_us) VALUES (:name, :labels, :latency, :first_us, :last_us)"
        " ON CONFLICT (name, labels) DO UPDATE SET"
        " first_us = CASE WHEN excluded.first_us < series.first_us THEN excluded.first_us ELSE series.first_us END,"
        " last_us = CASE WHEN excluded.last_us > series.last_us THEN excluded.last_us ELSE series.last_us END"
        " RETURNING series_id",
        {"name": name, "labels": labels, "latency": int(latency), "first_us": first_us, "last_us": last_us},
    )
    if row is None:
        raise RuntimeError("an upsert returned no row")
    return int(row["series_id"])


async def count_series(tx: Transaction, name: str) -> tuple[int, int]:
    """Number of series of a metric, and of all metrics."""
    row = await tx.fetch_one(
        "SELECT COUNT(*) AS all_series, COALESCE(SUM(CASE WHEN name = :name THEN 1 ELSE 0 END), 0) AS own FROM series",
        {"name": name},
    )
    return (int(row["own"]), int(row["all_series"])) if row else (0, 0)


async def labels_of(tx: Transaction, name: str) -> list[str]:
    """Labels of every series of a metric."""
    rows = await tx.fetch_all("SELECT labels FROM series WHERE name = :name", {"name": name})
    return [row["labels"] for row in rows]


async def metrics(tx: Transaction, after: str, limit: int) -> list[Metric]:
    """Metrics by name, after a name."""
    rows = await tx.fetch_all(
        "SELECT name, COUNT(*), MIN(first_us), MAX(last_us) FROM series"
        " WHERE name > :after GROUP BY name ORDER BY name LIMIT :limit",
        {"after": after, "limit": limit},
    )
    return [Metric(*row) for row in rows]


async def latency_sizes(tx: Transaction, segments: Iterable[Segment]) -> dict[str, tuple[int, int]]:
    """(values, buckets to read) of each metric that is a length of time, in the segments; what waits to be folded counts too."""
    found: dict[str, tuple[int, int]] = {}
    for segment in segments:
        rows = await tx.fetch_all(
            "SELECT name, SUM(n) AS n, SUM(buckets) AS buckets FROM ("
            "SELECT name, SUM(value_count) AS n, COUNT(*) AS buckets FROM metric_bucket"
            " JOIN series ON series.series_id = metric_bucket.series_id"
            " WHERE latency = 1 AND width_us = :width_us AND start_us >= :start_us AND start_us < :end_us GROUP BY name UNION ALL "
            "SELECT name, COUNT(*) AS n, COUNT(*) AS buckets FROM metric_sample"
            " JOIN series ON series.series_id = metric_sample.series_id"
            " WHERE latency = 1 AND time_us >= :start_us AND time_us < :end_us GROUP BY name) AS sizes GROUP BY name",
            vars(segment),
        )
        for row in rows:
            values, buckets = found.get(row["name"], (0, 0))
            found[row["name"]] = (values + int(row["n"]), buckets + int(row["buckets"]))
    return found


async def add_sample(tx: Transaction, sample: Sample) -> None:
    """Keeps a value until it is folded."""
    await tx.execute(
        "INSERT INTO metric_sample (series_id, time_us, value) VALUES (:series_id, :time_us, :value)", sample._asdict()
    )


async def samples(tx: Transaction, limit: int) -> tuple[list[Sample], int]:
    """The oldest values that wait to be folded, and the place of the last of them."""
    rows = await tx.fetch_all(
        "SELECT series_id, time_us, value, seq FROM metric_sample ORDER BY seq LIMIT :limit", {"limit": limit}
    )
    return [Sample(row["series_id"], row["time_us"], row["value"]) for row in rows], rows[-1]["seq"] if rows else 0


async def samples_of(tx: Transaction, name: str, start_us: int, end_us: int) -> list[tuple[str, int, float]]:
    """(labels, time, value) of a metric's values of a span that wait to be folded."""
    rows = await tx.fetch_all(
        "SELECT series.labels, metric_sample.time_us, metric_sample.value FROM metric_sample"
        " JOIN series ON series.series_id = metric_sample.series_id"
        " WHERE series.name = :name AND metric_sample.time_us >= :start_us AND metric_sample.time_us < :end_us",
        {"name": name, "start_us": start_us, "end_us": end_us},
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def drop_samples(tx: Transaction, last: int) -> None:
    """Drops the values up to a place: they are folded."""
    await tx.execute("DELETE FROM metric_sample WHERE seq <= :last", {"last": last})


async def find_bucket(tx: Transaction, series_id: int, width_us: int, start_us: int) -> Summary | None:
    """A bucket as it stands."""
    row = await tx.fetch_one(
        "SELECT * FROM metric_bucket WHERE series_id = :series_id AND width_us = :width_us AND start_us = :start_us",
        {"series_id": series_id, "width_us": width_us, "start_us": start_us},
    )
    return _summary(row) if row else None


async def put_buckets(tx: Transaction, buckets: Iterable[tuple[int, int, int, Summary]]) -> None:
    """Writes buckets anew: (series, width, start, summary) each."""
    await tx.execute_many(
        "INSERT INTO metric_bucket (series_id, width_us, start_us, value_count, value_sum, value_min, value_max, sketch)"
        " VALUES (:series_id, :width_us, :start_us, :count, :sum, :min, :max, :sketch)"
        " ON CONFLICT (series_id, width_us, start_us) DO UPDATE SET value_count = excluded.value_count,"
        " value_sum = excluded.value_sum, value_min = excluded.value_min, value_max = excluded.value_max, sketch = excluded.sketch",
        [
            {"series_id": series_id, "width_us": width_us, "start_us": start_us, **vars(summary), "sketch": summary.sketch.encode()}
            for series_id, width_us, start_us, summary in buckets
        ],
    )


async def count_buckets(tx: Transaction, name: str, segments: Sequence[Segment]) -> int:
    """Number of buckets that reading a metric would take."""
    found = 0
    for segment in segments:
        row = await tx.fetch_one(
            "SELECT COUNT(*) AS n FROM metric_bucket JOIN series ON series.series_id = metric_bucket.series_id"
            " WHERE series.name = :name AND width_us = :width_us AND start_us >= :start_us AND start_us < :end_us",
            {"name": name, **vars(segment)},
        )
        found += int(row["n"]) if row else 0
    return found


async def buckets_of(tx: Transaction, name: str, segments: Iterable[Segment]) -> list[Bucket]:
    """The buckets of a metric's series in the segments."""
    found: list[Bucket] = []
    for segment in segments:
        rows = await tx.fetch_all(
            "SELECT series.labels, metric_bucket.* FROM metric_bucket JOIN series ON series.series_id = metric_bucket.series_id"
            " WHERE series.name = :name AND width_us = :width_us AND start_us >= :start_us AND start_us < :end_us",
            {"name": name, **vars(segment)},
        )
        found += [Bucket(row["labels"], row["start_us"], _summary(row)) for row in rows]
    return found


def _summary(row: Row) -> Summary:
    sketch = Sketch.decode(row["sketch"])
    return Summary(row["value_count"], row["value_sum"], row["value_min"], row["value_max"], sketch)


async def forget_buckets(tx: Transaction, width_us: int, before_us: int) -> int:
    """Drops buckets of a width that start before a time; gives their number."""
    return await tx.execute(
        "DELETE FROM metric_bucket WHERE width_us = :width_us AND start_us < :before_us",
        {"width_us": width_us, "before_us": before_us},
    )


async def forget_series(tx: Transaction, before_us: int) -> int:
    """Drops series whose newest value is older than this; gives their number."""
    return await tx.execute("DELETE FROM series WHERE last_us < :before_us", {"before_us": before_us})
