"""Statements about heard events and the health of services."""

from collections.abc import Iterable
from typing import NamedTuple

from mesh.db import Row, Transaction
from services.analytics.buckets import Segment
from services.analytics.health import Band, Condition, Transition
from services.analytics.span import HeardEvent


class EventTotal(NamedTuple):
    """Events of one type and source since the beginning."""

    type: str
    source: str
    events: int
    first_us: int
    last_us: int


async def add_heard_event(tx: Transaction, event: HeardEvent) -> None:
    """Keeps an event until it is folded."""
    await tx.execute(
        "INSERT INTO heard_event (type, source, user_id, time_us, delay_us, duration_us)"
        " VALUES (:type, :source, :user_id, :time_us, :delay_us, :duration_us)",
        vars(event),
    )


async def heard_events(tx: Transaction, limit: int) -> tuple[list[HeardEvent], int]:
    """The oldest events that wait to be folded, and the place of the last of them."""
    rows = await tx.fetch_all("SELECT * FROM heard_event ORDER BY seq LIMIT :limit", {"limit": limit})
    return [_heard(row) for row in rows], rows[-1]["seq"] if rows else 0


async def anything_waits(tx: Transaction) -> bool:
    """True when events or values wait to be folded."""
    row = await tx.fetch_one("SELECT 1 FROM heard_event UNION ALL SELECT 1 FROM metric_sample LIMIT 1")
    return row is not None


async def heard_events_between(tx: Transaction, start_us: int, end_us: int) -> list[HeardEvent]:
    """The events of a span that wait to be folded."""
    rows = await tx.fetch_all(
        "SELECT * FROM heard_event WHERE time_us >= :start_us AND time_us < :end_us", {"start_us": start_us, "end_us": end_us}
    )
    return [_heard(row) for row in rows]


def _heard(row: Row) -> HeardEvent:
    return HeardEvent(row["type"], row["source"], row["user_id"], row["time_us"], row["delay_us"], row["duration_us"])


async def drop_heard_events(tx: Transaction, last: int) -> None:
    """Drops the events up to a place: they are folded."""
    await tx.execute("DELETE FROM heard_event WHERE seq <= :last", {"last": last})


async def add_event_counts(tx: Transaction, counts: Iterable[tuple[int, int, str, str, int]]) -> None:
    """Adds to event buckets: (width, start, type, source, count) each."""
    await tx.execute_many(
        "INSERT INTO event_bucket (width_us, start_us, type, source, event_count)"
        " VALUES (:width_us, :start_us, :type, :source, :count)"
        " ON CONFLICT (width_us, start_us, type, source)"
        " DO UPDATE SET event_count = event_bucket.event_count + excluded.event_count",
        [dict(zip(("width_us", "start_us", "type", "source", "count"), row, strict=True)) for row in counts],
    )


async def add_event_totals(tx: Transaction, totals: Iterable[EventTotal]) -> None:
    """Adds to the totals since the beginning."""
    await tx.execute_many(
        "INSERT INTO event_total (type, source, event_count, first_us, last_us)"
        " VALUES (:type, :source, :events, :first_us, :last_us)"
        " ON CONFLICT (type, source) DO UPDATE SET event_count = event_total.event_count + excluded.event_count,"
        " first_us = CASE WHEN excluded.first_us < event_total.first_us THEN excluded.first_us ELSE event_total.first_us END,"
        " last_us = CASE WHEN excluded.last_us > event_total.last_us THEN excluded.last_us ELSE event_total.last_us END",
        [row._asdict() for row in totals],
    )


async def event_totals(tx: Transaction) -> list[EventTotal]:
    """Events by type and source since the beginning, those that wait to be folded too."""
    rows = await tx.fetch_all(
        "SELECT type, source, SUM(n) AS n, MIN(first_us) AS first_us, MAX(last_us) AS last_us FROM ("
        "SELECT type, source, event_count AS n, first_us, last_us FROM event_total UNION ALL "
        "SELECT type, source, COUNT(*) AS n, MIN(time_us) AS first_us, MAX(time_us) AS last_us FROM heard_event"
        " GROUP BY type, source"
        ") AS told GROUP BY type, source"
    )
    return [EventTotal(*row) for row in rows]


async def event_counts(tx: Transaction, segments: Iterable[Segment]) -> dict[tuple[str, str], int]:
    """Folded events by (type, source) in the buckets of the segments."""
    found: dict[tuple[str, str], int] = {}
    for segment in segments:
        rows = await tx.fetch_all(
            "SELECT type, source, SUM(event_count) AS n FROM event_bucket"
            " WHERE width_us = :width_us AND start_us >= :start_us AND start_us < :end_us GROUP BY type, source",
            vars(segment),
        )
        for row in rows:
            told = (row["type"], row["source"])
            found[told] = found.get(told, 0) + row["n"]
    return found


async def waiting_count(tx: Transaction, start_us: int, end_us: int) -> int:
    """Number of events of a span that wait to be folded."""
    row = await tx.fetch_one(
        "SELECT COUNT(*) AS n FROM heard_event WHERE time_us >= :start_us AND time_us < :end_us",
        {"start_us": start_us, "end_us": end_us},
    )
    return int(row["n"]) if row else 0


async def forget_event_buckets(tx: Transaction, width_us: int, before_us: int) -> int:
    """Drops buckets of a width that start before a time; gives their number."""
    return await tx.execute(
        "DELETE FROM event_bucket WHERE width_us = :width_us AND start_us < :before_us",
        {"width_us": width_us, "before_us": before_us},
    )


async def add_transition(tx: Transaction, service: str, transition: Transition) -> None:
    """Keeps what was seen of a process. Of two at the same microsecond the first stands."""
    await tx.execute(
        "INSERT INTO service_transition (service, process, time_us, condition) VALUES (:service, :process, :time_us, :condition)"
        " ON CONFLICT DO NOTHING",
        {"service": service, "process": transition.process, "time_us": transition.time_us, "condition": int(transition.condition)},
    )


async def condition_of(tx: Transaction, service: str, process: str) -> Condition | None:
    """What a process was last seen to be; None for one that was never seen."""
    row = await tx.fetch_one(
        "SELECT condition FROM service_transition WHERE service = :service AND process = :process ORDER BY time_us DESC LIMIT 1",
        {"service": service, "process": process},
    )
    return Condition(row["condition"]) if row else None


async def other_processes(tx: Transaction, service: str, process: str) -> list[str]:
    """The other processes of a service that were not last seen stopped."""
    rows = await tx.fetch_all(
        "SELECT process FROM service_transition AS seen WHERE service = :service AND process <> :process AND condition <> :stopped"
        " AND NOT EXISTS (SELECT 1 FROM service_transition AS newer WHERE newer.service = seen.service"
        " AND newer.process = seen.process AND newer.time_us > seen.time_us)",
        {"service": service, "process": process, "stopped": int(Condition.STOPPED)},
    )
    return [row["process"] for row in rows]


async def forget_later_transitions(tx: Transaction, service: str, process: str, now_us: int) -> None:
    """Drops what was seen of a process at times that are still to come."""
    await tx.execute(
        "DELETE FROM service_transition WHERE service = :service AND process = :process AND time_us > :now_us",
        {"service": service, "process": process, "now_us": now_us},
    )


async def transitions(tx: Transaction, start_us: int, end_us: int) -> list[tuple[str, Transition]]:
    """(service, transition) of every process in a span, and the last one before it, which says how the span began; oldest first."""
    rows = await tx.fetch_all(
        "SELECT * FROM service_transition AS seen WHERE time_us < :end_us AND (time_us >= :start_us OR NOT EXISTS ("
        "SELECT 1 FROM service_transition AS newer WHERE newer.service = seen.service AND newer.process = seen.process"
        " AND newer.time_us > seen.time_us AND newer.time_us < :start_us)) ORDER BY time_us, service, process",
        {"start_us": start_us, "end_us": end_us},
    )
    return [(row["service"], Transition(row["process"], Condition(row["condition"]), row["time_us"])) for row in rows]


async def forget_transitions(tx: Transaction, before_us: int) -> int:
    """Drops transitions older than this, but never a process's newest."""
    return await tx.execute(
        "DELETE FROM service_transition WHERE time_us < :before_us AND EXISTS (SELECT 1 FROM service_transition AS newer"
        " WHERE newer.service = service_transition.service AND newer.process = service_transition.process"
        " AND newer.time_us > service_transition.time_us AND newer.time_us < :before_us)",
        {"before_us": before_us},
    )


async def bands(tx: Transaction) -> dict[str, Band]:
    """The band that was told last, by service."""
    rows = await tx.fetch_all("SELECT service, band FROM service_band")
    return {row["service"]: Band(row["band"]) for row in rows}


async def put_band(tx: Transaction, service: str, band: Band, since_us: int) -> None:
    """Keeps the band that is told now."""
    await tx.execute(
        "INSERT INTO service_band (service, band, since_us) VALUES (:service, :band, :since_us)"
        " ON CONFLICT (service) DO UPDATE SET band = excluded.band, since_us = excluded.since_us",
        {"service": service, "band": int(band), "since_us": since_us},
    )
