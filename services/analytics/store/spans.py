"""Reads what was heard over a span: folded buckets and what still waits to be folded, in one snapshot."""

from collections import defaultdict
from collections.abc import Iterable

from mesh.db import Transaction
from services.analytics import series
from services.analytics.buckets import Segment, Summary, cover, fold
from services.analytics.span import Span
from services.analytics.store import heard, metrics


async def read_span(tx: Transaction, start_us: int, end_us: int) -> Span:
    """Everything heard in a span of full buckets."""
    segments = cover(start_us, end_us)
    span = Span(start_us, end_us)
    span.counts.update(await heard.event_counts(tx, segments))
    for bucket in await metrics.buckets_of(tx, series.DURATION, segments):
        labels = series.parse(bucket.labels)
        span.durations[labels["type"], labels["source"]].merge(bucket.summary)
    for bucket in await metrics.buckets_of(tx, series.DELAY, segments):
        span.delays[series.parse(bucket.labels)["source"]].merge(bucket.summary)
    span.take(await heard.heard_events_between(tx, start_us, end_us))
    for service, transition in await heard.transitions(tx, start_us, end_us):
        span.transitions[service].append(transition)
    return span


async def count_events(tx: Transaction, start_us: int, end_us: int) -> int:
    """Number of events in a span of full buckets."""
    folded = await heard.event_counts(tx, cover(start_us, end_us))
    return sum(folded.values()) + await heard.waiting_count(tx, start_us, end_us)


async def read_metric(tx: Transaction, name: str, segments: Iterable[Segment]) -> list[metrics.Bucket]:
    """The buckets of a metric in the segments, with what waits to be folded as buckets of its own."""
    segments = list(segments)
    found = await metrics.buckets_of(tx, name, segments)
    for segment in segments:
        waiting: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for labels, time_us, value in await metrics.samples_of(tx, name, segment.start_us, segment.end_us):
            waiting[labels].append((time_us, value))
        for labels, values in waiting.items():
            folded = fold(values, [segment.width_us])
            found += [metrics.Bucket(labels, start_us, summary) for (_, start_us), summary in folded.items()]
    return found


async def read_total(tx: Transaction, name: str, start_us: int, end_us: int) -> Summary:
    """All values of a metric in a span of full buckets, whatever their labels."""
    whole = Summary()
    for bucket in await read_metric(tx, name, cover(start_us, end_us)):
        whole.merge(bucket.summary)
    return whole
