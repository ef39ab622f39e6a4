"""The log on a JetStream stream: a position is a stream sequence; the newest events are held in memory for those who keep up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from bus.batches import GONE, Append, Appended, Batch
from bus.filters import Filter
from bus.intake import Intake
from bus.jetstream import removal
from bus.jetstream.connection import Connection, Incoming
from bus.jetstream.messages import Item, batches_of, item_of
from bus.jetstream.settings import NatsSettings
from bus.jetstream.stream import Extent, Stream
from bus.jetstream.subjects import every_type
from bus.jetstream.sync import NotSynced, check_sync
from bus.jetstream.types import Types
from bus.jetstream.window import Window
from bus.jetstream.writer import Writer
from bus.log import BeforeRetention, PastTheEnd
from bus.recent import Recent
from bus.removal import without
from bus.settings import BusSettings, retention_of_types
from bus.slices import Chunk, cut
from mesh.clock import Clock, from_us, to_us

_READS_AT_ONCE = 32


class JetStreamLog:
    """One log in one stream, of which this process is the only writer."""

    way = "jetstream"

    def __init__(
        self, connection: Connection, stream: Stream, types: Types, settings: BusSettings, nats: NatsSettings, clock: Clock
    ) -> None:
        """On a connection and a stream that stand; start() reads the rest."""
        single = nats.replicas == 1
        self.durability: pb.PublishResponse.Durability.ValueType = (
            pb.PublishResponse.DURABILITY_FSYNC if single else pb.PublishResponse.DURABILITY_QUORUM_FSYNC
        )
        self.ended = False
        self.head = 0
        self.first = 0
        self.published = 0
        self.duplicates = 0
        self.size_bytes = 0
        self.removed = 0
        self.filter_failures = 0
        self._connection = connection
        self._stream = stream
        self._settings = settings
        self._nats = nats
        self._clock = clock
        self._types = types
        self.intake = Intake(types.rows, settings.max_event_bytes)
        self._recent = Recent(settings.recent_bytes)
        self._window = Window(nats.unique_count)
        self._moved = asyncio.Event()
        self._writer: Writer
        self._still_ours: Callable[[], Awaitable[None]]
        self._on_failure: Callable[[BaseException], None]
        self._forget_subject: Callable[[str], Awaitable[None]]

    async def start(
        self,
        still_ours: Callable[[], Awaitable[None]],
        forget_subject: Callable[[str], Awaitable[None]],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Reads where the stream ends and which ids it holds.

        `still_ours` raises when another bus owns the log; `forget_subject` erases what subscriptions keep of a subject.
        """
        self._forget_subject = forget_subject
        self._on_failure = on_failure
        self._still_ours = still_ours
        self.head = (await self._measure()).last
        after = max(self.first - 1, self.head - self._nats.unique_count, 0)
        while after < self.head:
            messages, after = await self._stream.read(after, self.head, self._settings.recent_bytes)
            self._remember(messages)
        prefix, queue = self._nats.prefix, self._settings.write_queue
        away = self._nats.unreachable_after.total_seconds()
        self._writer = Writer(self._connection, self, self._window, self._types, prefix, queue, away, on_failure)

    async def close(self) -> None:
        """Stores what waits, then lets go of the stream."""
        await self._writer.close()

    @property
    def commits(self) -> int:
        """Batches stored since the log was opened."""
        return self._writer.commits

    @property
    def remembered_ids(self) -> int:
        """Ids that are remembered to refuse repeats."""
        return len(self._window)

    @property
    def commit_seconds(self) -> float:
        """How long a commit takes now (moving average)."""
        return self._writer.commit_seconds

    @property
    def disk_full(self) -> bool:
        """Whether NATS refused the last publish because it has no room."""
        return self._writer.disk_full

    def submit(self, append: Append) -> asyncio.Future[Appended]:
        """Stores a checked publish, all or none; done when it is on the disk. VersionConflict, DiskFull, QueueFull, Closed."""
        done = self._writer.append(append)
        done.add_done_callback(self._count)
        return done

    async def publish(self, events: Sequence[Event], expected: Mapping[str, int] | None = None) -> Appended:
        """Checks events by the bus's own rules and stores them, all or none; returns when they are on the disk."""
        return await self.submit(self.intake.events(events, expected or {}))

    def check_start(self, after: int) -> None:
        """BeforeRetention or PastTheEnd when reading cannot begin after a position; 0 is the beginning of what is kept."""
        first = self.first or self.head + 1
        if 0 < after < first - 1:
            raise BeforeRetention(first, self.head)
        if after > self.head:
            raise PastTheEnd(first, self.head)

    def wanted_types(self, wanted: Filter) -> bytes | None:
        """Which types a filter wants, one byte for each type number; None when it wants all."""
        return None if wanted.every_type else self._types.wanted(wanted)

    async def read(self, after: int, wanted: bytes | None = None, max_bytes: int = 0) -> Chunk:
        """Events beyond a position, from memory when they are new enough, else from the stream."""
        # memory may still hold what retention has deleted
        after = after or (self.first or self.head + 1) - 1
        if after >= self.head:
            return Chunk((), after)
        self.check_start(after)
        max_bytes = max_bytes or self._settings.read_bytes
        batches = self._recent.after(after, max_bytes)
        # memory always reaches to the head
        scanned = batches[-1].last if batches else self.head
        if batches is None:
            messages, scanned = await self._stream.read(after, self.head, max_bytes)
            batches = self._batches(messages)
        return Chunk([part for batch in batches if (part := cut(batch, after, wanted))], scanned)

    async def events(self, positions: Iterable[int]) -> dict[int, Event]:
        """The events at some positions, those that are kept, each with its position."""
        limit = asyncio.Semaphore(_READS_AT_ONCE)

        async def one(position: int) -> Event | None:
            async with limit:
                return await self._event(position)

        wanted = sorted(set(positions))
        found = await asyncio.gather(*(one(position) for position in wanted))
        return {position: event for position, event in zip(wanted, found, strict=True) if event is not None}

    async def wait_beyond(self, position: int, seconds: float | None) -> bool:
        """Waits until the head is beyond a position, at most so long (None: for ever); False when it was in vain."""
        try:
            async with asyncio.timeout(seconds):
                while self.head <= position and not self.ended:
                    await self._moved.wait()
        except TimeoutError:
            return False
        return self.head > position

    def end_waits(self) -> None:
        """Ends everyone's waiting for more, for good: the bus drains."""
        self.ended = True
        self._moved.set()

    async def time_of(self, position: int) -> datetime | None:
        """When the event at a position was stored; None when it is not kept."""
        if not self.first <= position <= self.head or not position:
            return None
        recent = self._recent.after(position - 1, 1)
        if recent:
            return from_us(recent[0].time_us)
        message = await self._stream.message(position)
        return from_us(message.time_us) if message else None

    async def age_of(self, position: int) -> timedelta:
        """How long ago the event at a position was stored; zero when there is none."""
        stored = await self.time_of(position)
        return max(self._clock.now() - stored, timedelta(0)) if stored else timedelta(0)

    async def position_before(self, moment: datetime) -> int:
        """The position after which everything was stored at or after a time."""
        extent = await self._stream.extent()
        return min(self.head, await self._stream.position_before(to_us(moment), extent)) if extent.messages else self.head

    async def upkeep(self, keep_from: int) -> int:
        """Applies retention; nothing at or beyond `keep_from` is deleted. Returns the events deleted.

        Bytes are judged by the mean size of an event, for a stream tells no more. That every write is synced is asked again, too.
        """
        await self._check_sync()
        extent = await self._measure()
        up_to = min(await self._plan(extent), keep_from - 1, self.head)
        deleted = 0
        if extent.messages and up_to >= extent.first:
            # who reads on must be told that positions are gone before they are
            self.first = up_to + 1
            deleted = await self._stream.purge(up_to)
        now = self._clock.now()
        for pattern, age in retention_of_types(self._settings.retention_types):
            up_to = min(await self.position_before(now - age), keep_from - 1)
            for name in self._types.matching(pattern):
                expired = await self._stream.purge(up_to, f"{self._nats.prefix}.{name}.>")
                # memory still holds what is gone: readers go to the stream until it has filled again
                self._recent = Recent(self._settings.recent_bytes) if expired else self._recent
                deleted += expired
        if deleted:
            await self._measure()
        return deleted

    async def erase(self, subject: str) -> int:
        """Takes every event of a subject out of the log and what subscriptions keep of it. Returns their number."""
        removed = await self._remove(await removal.of_subject(self._stream, self._places(subject), self.head))
        self._window.forget_subject(subject)
        await self._forget_subject(subject)
        return removed

    async def compact(self, patterns: Sequence[str], min_age: timedelta, keep_from: int) -> int:
        """Keeps of each subject only the newest event of each type named. Returns the number of events that are gone."""
        bounds = removal.Bounds(to_us(self._clock.now() - min_age) + 1, keep_from, self._settings.compact_subjects)
        removed = 0
        for name in dict.fromkeys(name for pattern in patterns for name in self._types.matching(pattern)):
            place = f"{self._nats.prefix}.{name}.*"
            removed += await self._remove(await removal.superseded(self._stream, place, self.head, bounds))
        return removed

    async def newest_of(self, subject: str) -> int:
        """Position of a subject's newest event; 0 when it has none."""
        remembered = self._window.newest_of(subject)
        if remembered is not None:
            return remembered
        found = await asyncio.gather(*(self._stream.last_of(place) for place in self._places(subject)))
        return max((message.sequence for message in found if message), default=0)

    async def catch_up(self) -> None:
        """Takes in what stands beyond the head: from an attempt whose answer was lost, or from the owner before this one."""
        await self._still_ours()
        while (message := await self._stream.next_from(self.head + 1)) is not None:
            self._remember([message])
            self._advance(message.sequence, self._batches([message]))

    def stored(self, items: Sequence[Item]) -> None:
        """Moves the head over events that were stored."""
        first = self.head + 1
        for position, item in enumerate(items, first):
            self._window.add(item.key, item.subject, position)
            self.size_bytes += len(item.encoded)
        batches = batches_of(enumerate(items, first), to_us(self._clock.now()), self._settings.coalesce_bytes)
        self._advance(self.head + len(items), list(batches))

    async def _measure(self) -> Extent:
        """Asks the stream for its extent."""
        extent = await self._stream.extent()
        self.first = extent.first if extent.messages else 0
        self.size_bytes = extent.bytes
        return extent

    async def _event(self, position: int) -> Event | None:
        recent = self._recent.after(position - 1, 1)
        if recent and recent[0].position <= position:
            index = position - recent[0].position
            if recent[0].type_ids()[index] == GONE:
                return None
            event = recent[0].decode()[index]
        else:
            message = await self._stream.message(position) if 0 < position <= self.head else None
            if message is None or item_of(message, self._types, self._nats.prefix) is None:
                return None
            event = Event.FromString(message.payload)
        event.position = position
        return event

    def _remember(self, messages: Iterable[Incoming]) -> None:
        for message in messages:
            item = item_of(message, self._types, self._nats.prefix)
            if item is not None:
                self._window.add(item.key, item.subject, message.sequence)

    def _batches(self, messages: Iterable[Incoming]) -> list[Batch]:
        """Stored messages as batches; what no bus wrote is passed over."""
        time_us = 0
        entries = []
        for message in messages:
            time_us = time_us or message.time_us
            item = item_of(message, self._types, self._nats.prefix)
            if item is not None:
                entries.append((message.sequence, item))
        return list(batches_of(entries, time_us, self._settings.coalesce_bytes))

    def _places(self, subject: str) -> list[str]:
        """The NATS subjects under which a subject's events stand."""
        return every_type(self._nats.prefix, subject, self._types.depths)

    async def _check_sync(self) -> None:
        try:
            await check_sync(self._nats)
        except NotSynced as error:
            # a server came back with another configuration: what it acknowledges is no promise any more
            self._on_failure(error)
            raise

    async def _plan(self, extent: Extent) -> int:
        """Up to where events have to go."""
        settings = self._settings
        up_to = 0
        if settings.retention_age:
            up_to = await self.position_before(self._clock.now() - settings.retention_age)
        if settings.retention_count:
            up_to = max(up_to, self.head - settings.retention_count)
        if settings.retention_bytes and extent.bytes > settings.retention_bytes:
            up_to = max(up_to, extent.last - int(settings.retention_bytes * extent.messages / extent.bytes))
        return up_to

    async def _remove(self, positions: Sequence[int]) -> int:
        """Erases events from the stream, and from memory."""
        for position in positions:
            await self._stream.erase(position)
            held = self._recent.after(position - 1, 1)
            if held and held[0].position <= position:
                self._recent.replace(without(held[0], [position - held[0].position]))
        self.removed += len(positions)
        if positions:
            await self._measure()
        return len(positions)

    def _count(self, done: asyncio.Future[Appended]) -> None:
        if not done.cancelled() and done.exception() is None:
            appended = done.result()
            self.published += len(appended.positions) - appended.duplicates
            self.duplicates += appended.duplicates

    def _advance(self, head: int, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self._recent.add(batch)
        self.first = self.first or self.head + 1
        self.head = head
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
