"""Answers GetAnalyticsOverview: what was heard over a span, put into the words of the contract."""

from datetime import datetime, timedelta

from tooloo.analytics.v1 import analytics_service_pb2, health_pb2, overview_pb2

from mesh.clock import to_us
from mesh.db import Transaction
from services.analytics import buckets, series, wire
from services.analytics.buckets import DAY, SECOND, Summary
from services.analytics.flows.upkeep import minutes_from
from services.analytics.health import Policy, band_of
from services.analytics.settings import AnalyticsSettings
from services.analytics.sketch import ERROR_BOUND
from services.analytics.span import Span, Words, by_type, health_of
from services.analytics.store import heard, metrics, spans, users

RATE_WINDOWS = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1), timedelta(days=1))
Overview = analytics_service_pb2.GetAnalyticsOverviewResponse


class OverviewReader:
    """Reads an overview in one snapshot. Spans are in microseconds, on full buckets; `now` ends the last, unfinished one."""

    def __init__(self, settings: AnalyticsSettings, policy: Policy) -> None:
        self._settings = settings
        self._policy = policy
        self._words = Words(settings.failure_words, settings.success_words)

    async def read(self, tx: Transaction, start_us: int, end_us: int, now: datetime) -> Overview:
        """The overview of a span."""
        span = await spans.read_span(tx, start_us, end_us)
        span.end_us = min(end_us, to_us(now))
        minutes_us = minutes_from(now, self._settings)
        totals = await heard.event_totals(tx)
        latencies, left_out = await self._latencies(tx, span, end_us)
        answer = Overview(
            event_count=sum(span.counts.values()),
            active_users=await users.active_users(tx, buckets.floor(start_us, DAY), buckets.ceil(end_us, DAY)),
            events=_event_counts(span, totals),
            rates=[await _rate(tx, window, span.end_us, end_us, minutes_us) for window in RATE_WINDOWS],
            latencies=latencies,
            latencies_left_out=left_out,
            error_bound=ERROR_BOUND,
            services=self._scores(span, totals),
            to=wire.timestamp(span.end_us),
        )
        # "from" is a word of Python, so it cannot be given by name
        getattr(answer, "from").CopyFrom(wire.timestamp(start_us))
        return answer

    def _scores(self, span: Span, totals: list[heard.EventTotal]) -> list[health_pb2.ServiceScore]:
        last: dict[str, int] = {}
        for total in totals:
            last[total.source] = max(total.last_us, last.get(total.source, 0))
        found = []
        for service in span.services:
            seen = health_of(self._policy, self._words, span, service)
            found.append(wire.service_score(service, band_of(self._policy, seen.score), seen, last.get(service)))
        return found

    async def _latencies(self, tx: Transaction, span: Span, end_us: int) -> tuple[list[overview_pb2.Latency], int]:
        origin = overview_pb2.LatencyOrigin
        found = [wire.latency(*one) for one in _named(origin.LATENCY_ORIGIN_EVENT, by_type(span.durations))]
        found += [wire.latency(*one) for one in _named(origin.LATENCY_ORIGIN_BUS, span.delays)]
        segments = buckets.cover(span.start_us, end_us)
        sizes = await metrics.latency_sizes(tx, segments)
        allowed, left_out = self._settings.max_query_buckets, 0
        for name, (_, size) in sorted(sizes.items(), key=lambda item: -item[1][0])[: self._settings.overview_latencies]:
            allowed -= size
            if allowed < 0:
                left_out += 1
                continue
            whole = await spans.read_total(tx, name, span.start_us, end_us)
            found.append(wire.latency(name, origin.LATENCY_ORIGIN_METRIC, whole, series.seconds_per_unit(name) or 1.0))
        left_out += max(0, len(sizes) - self._settings.overview_latencies)
        found.sort(key=lambda latency: (-latency.count, latency.origin, latency.name))
        shown = found[: self._settings.overview_latencies]
        return shown, left_out + len(found) - len(shown)


def _named(
    origin: overview_pb2.LatencyOrigin.ValueType, summaries: dict[str, Summary]
) -> list[tuple[str, overview_pb2.LatencyOrigin.ValueType, Summary]]:
    return [(name, origin, summary) for name, summary in summaries.items()]


def _event_counts(span: Span, totals: list[heard.EventTotal]) -> list[overview_pb2.EventCount]:
    seconds = max(span.end_us - span.start_us, SECOND) / SECOND
    found = [
        overview_pb2.EventCount(
            type=total.type,
            source=total.source,
            count=span.counts[total.type, total.source],
            per_second=span.counts[total.type, total.source] / seconds,
            total_count=total.events,
            first_time=wire.timestamp(total.first_us),
            last_time=wire.timestamp(total.last_us),
        )
        for total in totals
        if (total.type, total.source) in span.counts
    ]
    return sorted(found, key=lambda one: (-one.count, one.type, one.source))


async def _rate(tx: Transaction, window: timedelta, until_us: int, end_us: int, minutes_us: int) -> overview_pb2.EventRate:
    width_us = int(window.total_seconds()) * SECOND
    # before the minutes that are kept there are only full hours to count
    start_us, _ = buckets.snap(until_us - width_us, end_us, minutes_us)
    count = await spans.count_events(tx, start_us, end_us)
    covered = (until_us - start_us) / SECOND
    answer = overview_pb2.EventRate(covered=wire.length(covered), count=count, per_second=count / covered)
    answer.window.FromTimedelta(window)
    return answer
