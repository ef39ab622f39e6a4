"""What analytics does by itself: folds what was heard into buckets, forgets what is old, looks at each service's health."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from mesh.clock import to_us
from mesh.db import Transaction
from mesh.host import Host
from services.analytics import buckets, events, health
from services.analytics.buckets import DAY, HOUR, MINUTE
from services.analytics.health import Band, Health
from services.analytics.settings import AnalyticsSettings
from services.analytics.span import Folded, Words, fold_events, health_of
from services.analytics.store import heard, metrics, spans, users

# (time, value) by series
Values = dict[int, list[tuple[int, float]]]


def minutes_from(now: datetime, settings: AnalyticsSettings) -> int:
    """From when on minutes are kept: a full hour, in microseconds."""
    return buckets.floor(to_us(now - settings.minute_retention), HOUR)


class Upkeep:
    """The background work of the service; each step is one transaction and may be done at any time."""

    def __init__(self, host: Host, settings: AnalyticsSettings) -> None:
        self._host = host
        self._settings = settings
        self._policy = settings.policy()
        self._words = Words(settings.failure_words, settings.success_words)

    async def keep_folding(self) -> None:
        """Folds for ever, full batches without a pause."""
        await _every(self._settings.fold_interval, self._fold_all)

    async def _fold_all(self) -> None:
        while await self.fold() >= self._settings.fold_batch:
            pass

    async def keep_forgetting(self) -> None:
        """Forgets for ever."""
        await _every(self._settings.forget_interval, self.forget)

    async def keep_looking(self) -> None:
        """Looks at health for ever."""
        await _every(self._settings.health_interval, self.look)

    async def fold(self) -> int:
        """Folds one batch of events and of values into buckets; gives the greater of their numbers."""

        async def work(tx: Transaction) -> int:
            told, last_event = await heard.heard_events(tx, self._settings.fold_batch)
            logged, last_sample = await metrics.samples(tx, self._settings.fold_batch)
            folded = fold_events(told)
            await _add_counts(tx, folded)
            values = await _event_values(tx, folded)
            for sample in logged:
                values[sample.series_id].append((sample.time_us, sample.value))
            await _add_values(tx, values)
            await heard.drop_heard_events(tx, last_event)
            await metrics.drop_samples(tx, last_sample)
            return max(len(told), len(logged))

        waiting = await self._host.db.read(heard.anything_waits)
        return await self._host.db.write(work) if waiting else 0

    async def forget(self) -> None:
        """Drops what is older than its retention, and what earned badges had counted."""
        now = self._host.clock.now()
        minutes_us = minutes_from(now, self._settings)
        hours_us = buckets.floor(to_us(now - self._settings.hour_retention), DAY)

        async def work(tx: Transaction) -> None:
            for width_us, before_us in ((MINUTE, minutes_us), (HOUR, hours_us)):
                await heard.forget_event_buckets(tx, width_us, before_us)
                await metrics.forget_buckets(tx, width_us, before_us)
            await metrics.forget_series(tx, hours_us)
            await heard.forget_transitions(tx, hours_us)
            await users.forget_user_days(tx, hours_us)
            await users.forget_items(tx)

        await self._host.db.write(work)

    async def look(self) -> None:
        """Judges each service and tells health.changed where a band was crossed."""
        now = self._host.clock.now()
        start_us, end_us = buckets.snap(to_us(now - self._settings.health_window), to_us(now), minutes_from(now, self._settings))
        span = await self._host.db.read(lambda tx: spans.read_span(tx, start_us, end_us))
        # what is not yet known about this minute must not count as known time
        span.end_us = to_us(now)
        seen = {service: health_of(self._policy, self._words, span, service) for service in span.services}
        told = await self._host.db.read(heard.bands)
        changed = {service: one for service, one in seen.items() if self._next(told, service, one) is not _band(told, service)}
        if changed:
            await self._host.db.write(lambda tx: self._tell_bands(tx, changed, to_us(now)))

    def _next(self, told: dict[str, Band], service: str, seen: Health) -> Band:
        return health.next_band(self._policy, _band(told, service), seen.score)

    async def _tell_bands(self, tx: Transaction, seen: dict[str, Health], now_us: int) -> None:
        told = await heard.bands(tx)
        for service, one in seen.items():
            before, after = _band(told, service), self._next(told, service, one)
            if after is not before:
                await heard.put_band(tx, service, after, now_us)
                await self._host.tell(tx, events.health_changed(service, before, after, one))


def _band(told: dict[str, Band], service: str) -> Band:
    return told.get(service, Band.NOT_ENOUGH_DATA)


async def _add_counts(tx: Transaction, folded: Folded) -> None:
    await heard.add_event_counts(tx, [(*key, count) for key, count in folded.counts.items()])
    await heard.add_event_totals(
        tx, [heard.EventTotal(*told, len(times), min(times), max(times)) for told, times in folded.told.items()]
    )
    await users.add_user_days(tx, [users.UserDay(*day, len(times), min(times), max(times)) for day, times in folded.days.items()])


async def _event_values(tx: Transaction, folded: Folded) -> Values:
    found: Values = defaultdict(list)
    for (name, labels), values in folded.values.items():
        times = [time_us for time_us, _ in values]
        # shown as latencies of events, so not once more as a metric
        series_id = await metrics.touch_series(tx, name, labels, latency=False, first_us=min(times), last_us=max(times))
        found[series_id] += values
    return found


async def _add_values(tx: Transaction, values: Values) -> None:
    grown = []
    for series_id, pairs in values.items():
        for (width_us, start_us), summary in buckets.fold(pairs).items():
            stands = await metrics.find_bucket(tx, series_id, width_us, start_us)
            if stands:
                summary.merge(stands)
            grown.append((series_id, width_us, start_us, summary))
    await metrics.put_buckets(tx, grown)


async def _every(interval: timedelta, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await work()
        await asyncio.sleep(interval.total_seconds())
