"""All subscriptions of the log: made, found, moved and deleted by name."""

import asyncio
import bisect
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import accumulate

from tooloo.bus.v1.subscription_pb2 import StartAt, Subscription

from bus import definitions
from bus.ranges import AckState
from bus.refusals import not_found, too_many
from bus.settings import BusSettings
from bus.storage import EventLog, Stored, StoredDeadLetter, SubscriptionStore
from bus.subscription import Running
from mesh import errors
from mesh.clock import Clock, to_us
from mesh.unbroken import unbroken

log = logging.getLogger(__name__)
# tokens of one start of the process; the start's number is above them, so that no token comes twice
_TOKENS_PER_EPOCH = 1 << 32


class Subscriptions:
    """The subscriptions of one log, at work between start() and stop()."""

    def __init__(self, log_: EventLog, store: SubscriptionStore, settings: BusSettings, clock: Clock) -> None:
        self._log = log_
        self._store = store
        self._settings = settings
        self._clock = clock
        self._running: dict[str, Running] = {}
        self._changing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._next_token = 0
        # where subscriptions are being put
        self._placing: list[int] = []

    async def start(self) -> None:
        """Begins to work where the disk says that everyone stands; SettingError when the default policy cannot be read."""
        self._settings.check()
        self._next_token = await self._store.next_epoch() * _TOKENS_PER_EPOCH
        for stored in await self._store.every():
            await self._run(stored if not stored.acks.reaches_beyond(self._log.head) else await self._brought_back(stored))
        self._log.on_growth.append(self._tell_of_news)
        self._tasks = [asyncio.create_task(self._keep_up())]

    async def stop(self) -> None:
        """Writes down what is settled and ends."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for running in self._running.values():
            await running.stop()

    def end_streams(self, failure: Exception) -> None:
        """Ends the streams of every subscription with a refusal: the bus drains."""
        for running in self._running.values():
            running.end_streams(failure)

    def running(self, name: str) -> Running:
        """The subscription of this name; NOT_FOUND when there is none."""
        found = self._running.get(name)
        if found is None:
            raise not_found(name)
        return found

    @unbroken
    async def create(self, wanted: Subscription) -> tuple[Subscription, bool]:
        """Makes a subscription, or gives the same that stands; the second value says whether it was made."""
        definitions.checked_filter(wanted.filter, "subscription.filter")
        definition = definitions.normalized(wanted)
        async with self._changing:
            standing = self._running.get(wanted.name)
            if standing is None:
                return await self._create(definition), True
        if not definitions.same(standing.definition, definition):
            raise errors.already_exists(
                "subscription", wanted.name, "it stands with another definition; update it, or take another name"
            )
        return await self.describe(standing), False

    @unbroken
    async def update(self, name: str, wanted: Subscription) -> Subscription:
        """Gives a subscription another definition; where it stands stays."""
        running = self.running(name)
        definitions.checked_filter(wanted.filter, "subscription.filter")
        definition = definitions.normalized(wanted)
        definition.name = name
        definition.ClearField("start")
        if running.definition.HasField("start"):
            definition.start.CopyFrom(running.definition.start)
        async with self._changing:
            if not definitions.same(definition, running.definition):
                await running.redefine(definition)
        return await self.describe(running)

    @unbroken
    async def delete(self, name: str) -> None:
        """Deletes a subscription with its dead letters; its streams end with NOT_FOUND."""
        async with self._changing:
            running = self.running(name)
            # when the disk has no room for it, it stands as before
            await running.delete()
            del self._running[name]
            running.end_streams(not_found(name))
            await running.stop()

    @unbroken
    async def seek(self, name: str, start: StartAt) -> Subscription:
        """Moves a subscription to another place in the log."""
        running = self.running(name)
        async with self._place(start) as floor:
            await running.seek(floor)
        return await self.describe(running)

    @unbroken
    async def set_paused(self, name: str, paused: bool) -> Subscription:
        """Pauses or resumes a subscription."""
        running = self.running(name)
        await running.set_paused(paused)
        return await self.describe(running)

    async def describe(self, running: Running) -> Subscription:
        """One subscription as the contract shows it."""
        counts = await self._store.dead_letter_counts()
        return await running.describe(counts.get(running.name, 0))

    async def list(self, after: str, limit: int) -> Sequence[Subscription]:
        """Subscriptions by name, beyond a name."""
        names = sorted(self._running)
        chosen = names[bisect.bisect_right(names, after) :][:limit]
        counts = await self._store.dead_letter_counts()
        return [await self._running[name].describe(counts.get(name, 0)) for name in chosen if name in self._running]

    def redeliveries(self) -> dict[str, int]:
        """Deliveries beyond an event's first, by name of the subscription."""
        return {name: running.dealer.redeliveries for name, running in self._running.items()}

    async def dead_letters(self, name: str, after: int, limit: int) -> tuple[Sequence[StoredDeadLetter], bool]:
        """Dead letters of a subscription beyond a position, as many as one message holds, and whether there are more."""
        running = self.running(name)
        await running.written()
        max_bytes = self._settings.read_bytes
        found = await self._log.undisturbed(lambda: self._store.dead_letters(name, after, limit + 1, max_bytes))
        fitting = bisect.bisect_right(list(accumulate(len(letter.event) for letter in found)), max_bytes)
        count = min(limit, max(1, fitting))
        return found[:count], len(found) > count

    async def dead_letter(self, name: str, position: int) -> StoredDeadLetter | None:
        """The dead letter of the event at a position; None when there is none."""
        await self.running(name).written()
        max_bytes = self._settings.read_bytes
        found = await self._log.undisturbed(lambda: self._store.dead_letters(name, position - 1, 1, max_bytes))
        return found[0] if found and found[0].position == position else None

    async def drop_dead_letters(self, name: str, positions: Sequence[int] | None) -> int:
        """Drops dead letters; None means all."""
        await self.running(name).written()
        return await self._store.drop(name, positions)

    async def floor_of(self, start: StartAt | None) -> int:
        """The position after which a start begins."""
        kind = start.WhichOneof("start") if start else None
        # who says that it is not the beginning names no other place
        if start is None or kind is None or (kind == "beginning" and not start.beginning):
            return self._log.head
        if kind == "time":
            before = await self._log.position_before(start.time.ToDatetime(tzinfo=self._clock.now().tzinfo))
            return max(before, (self._log.first or self._log.head + 1) - 1)
        after = start.after_position if kind == "after_position" else 0
        self._log.check_start(after)
        return max(after, (self._log.first or self._log.head + 1) - 1)

    @unbroken
    async def erase(self, subject: str) -> int:
        """Takes every event of a subject out of the log, and out of what is about to be delivered; returns their number."""
        erased = await self._log.erase(subject)
        for running in self._running.values():
            running.erased(subject)
        return erased

    @unbroken
    async def compact(self, patterns: Sequence[str], min_age: timedelta) -> int:
        """Keeps of each subject only the newest event of each type named; what is not settled stays. Returns how many are gone."""
        return await self._log.compact(patterns, min_age, self._keep_from)

    def _keep_from(self) -> int:
        """The first position that a subscription needs, or is about to."""
        needed = [running.keep_from for running in self._running.values()] + [floor + 1 for floor in self._placing]
        return int(min(needed, default=self._log.head + 1))

    @asynccontextmanager
    async def _place(self, start: StartAt | None) -> AsyncIterator[int]:
        """Where a start begins; what stands beyond it is kept while a subscription is put there."""
        floor = await self.floor_of(start)
        self._placing.append(floor)
        try:
            yield floor
        finally:
            self._placing.remove(floor)

    async def _create(self, definition: Subscription) -> Subscription:
        if len(self._running) >= self._settings.max_subscriptions:
            raise too_many(BusSettings.env_name("max_subscriptions"), "subscriptions", self._settings.max_subscriptions)
        async with self._place(definition.start if definition.HasField("start") else None) as floor:
            now_us = to_us(self._clock.now())
            stored = Stored(definition.name, definition.SerializeToString(), False, AckState(floor), now_us)
            await self._store.insert(stored)
            running = await self._run(stored)
        return await running.describe(0)

    async def _brought_back(self, stored: Stored) -> Stored:
        """A subscription that stands beyond the end of the log, at that end: what comes there is news, not what it settled once."""
        log.warning(
            "subscription %s stands beyond the end of the log: that is another one, or an older copy; it goes on after position %s",
            *(stored.name, self._log.head),
        )
        acks = stored.acks.up_to(self._log.head)
        await self._store.move(stored.name, acks.floor)
        return replace(stored, acks=acks)

    async def _run(self, stored: Stored) -> Running:
        running = self._running[stored.name] = Running(stored, self._log, self._store, self._settings, self._clock, self._token)
        await running.start()
        return running

    def _token(self) -> int:
        self._next_token += 1
        return self._next_token

    def _tell_of_news(self) -> None:
        """Lets every subscription deal out what the log has grown by."""
        for running in self._running.values():
            running.dispatcher.news()

    async def _keep_up(self) -> None:
        """Applies retention again and again; what a subscription has not settled stays."""
        while True:
            await asyncio.sleep(self._settings.upkeep_interval.total_seconds())
            try:
                await self._log.upkeep(self._keep_from)
                await self.compact(self._settings.compact_types, self._settings.compact_after)
            except Exception:
                # nothing is lost by deleting later; the log says why it could not
                log.exception("retention could not be applied")
