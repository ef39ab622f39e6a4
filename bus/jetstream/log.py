"""The log on a JetStream stream: a position is a stream sequence; the newest events are held in memory for those who keep up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime

from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from bus.batches import Append, Appended, Batch
from bus.jetstream.connection import Connection, Incoming
from bus.jetstream.messages import Item, batches_of, item_of
from bus.jetstream.settings import NatsSettings
from bus.jetstream.stream import Extent, Stream
from bus.jetstream.subjects import every_type
from bus.jetstream.window import Window
from bus.jetstream.writer import Writer
from bus.log import BeforeRetention, Chunk, PastTheEnd
from bus.recent import Recent
from bus.settings import BusSettings
from mesh import contracts
from mesh.clock import Clock, from_us, to_us

_READS_AT_ONCE = 32
_DEPTHS = frozenset(name.count(".") + 1 for name in contracts.catalogue())


class JetStreamLog:
    """One log in one stream, of which this process is the only writer."""

    way = "jetstream"

    def __init__(self, connection: Connection, stream: Stream, settings: BusSettings, nats: NatsSettings, clock: Clock) -> None:
        single = nats.replicas == 1
        self.durability = pb.PublishResponse.DURABILITY_FSYNC if single else pb.PublishResponse.DURABILITY_QUORUM_FSYNC
        self.ended = False
        self.head = 0
        self.first = 0
        self.published = 0
        self.duplicates = 0
        self.size_bytes = 0
        self.types_version = 0
        self._connection = connection
        self._stream = stream
        self._settings = settings
        self._nats = nats
        self._clock = clock
        self._types = {name: number for number, name in enumerate(contracts.catalogue(), 1)}
        self._recent = Recent(settings.recent_bytes)
        self._window = Window(nats.unique_count)
        self._moved = asyncio.Event()
        self._writer: Writer
        self._still_ours: Callable[[], Awaitable[None]]

    async def start(self, still_ours: Callable[[], Awaitable[None]], on_failure: Callable[[BaseException], None]) -> None:
        """Reads where the stream ends and which ids it holds; `still_ours` raises when another bus owns it."""
        self._still_ours = still_ours
        self.head = (await self._measure()).last
        after = max(self.first - 1, self.head - self._nats.unique_count, 0)
        while after < self.head:
            messages, after = await self._stream.read(after, self.head, self._settings.recent_bytes)
            self._remember(messages)
        prefix, queue = self._nats.prefix, self._settings.write_queue
        away = self._nats.unreachable_after.total_seconds()
        self._writer = Writer(self._connection, self, self._window, prefix, queue, away, on_failure)

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

    async def append(self, events: Sequence[Event], expected: Mapping[str, int] | None = None) -> Appended:
        """Stores checked events, all or none; VersionConflict, DiskFull, QueueFull, Closed."""
        appended = await self._writer.append(Append.of(events, expected))
        self.published += len(appended.positions) - appended.duplicates
        self.duplicates += appended.duplicates
        return appended

    def check_start(self, after: int) -> None:
        """BeforeRetention or PastTheEnd when reading cannot begin after a position; 0 is the beginning of what is kept."""
        first = self.first or self.head + 1
        if 0 < after < first - 1:
            raise BeforeRetention(first, self.head)
        if after > self.head:
            raise PastTheEnd(first, self.head)

    async def read(self, after: int, types: frozenset[int] | None = None, max_bytes: int = 0) -> Chunk:
        """Batches with events beyond a position, from memory when they are new enough, else from the stream."""
        # memory may still hold what retention has deleted
        after = after or (self.first or self.head + 1) - 1
        if after >= self.head:
            return Chunk((), after)
        self.check_start(after)
        max_bytes = max_bytes or self._settings.read_bytes
        known = self.types_version
        batches = self._recent.after(after, max_bytes)
        # memory always reaches to the head
        scanned = batches[-1].last if batches else self.head
        if batches is None:
            messages, scanned = await self._stream.read(after, self.head, max_bytes)
            batches = self._batches(messages)
        if types is not None and known == self.types_version:
            batches = [batch for batch in batches if not types.isdisjoint(batch.type_ids())]
        return Chunk(batches, scanned)

    async def events(self, positions: Iterable[int]) -> dict[int, Event]:
        """The events at some positions, those that are kept, each with its position."""
        limit = asyncio.Semaphore(_READS_AT_ONCE)

        async def one(position: int) -> Event | None:
            async with limit:
                return await self._event(position)

        wanted = sorted(set(positions))
        found = await asyncio.gather(*(one(position) for position in wanted))
        return {position: event for position, event in zip(wanted, found, strict=True) if event is not None}

    def type_ids(self, wanted: Callable[[str], bool]) -> frozenset[int]:
        """The ids of the known types that are wanted; ask again when `types_version` has grown."""
        return frozenset(number for name, number in self._types.items() if wanted(name))

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

    async def position_before(self, moment: datetime) -> int:
        """The position after which everything was stored at or after a time."""
        extent = await self._stream.extent()
        return min(self.head, await self._stream.position_before(to_us(moment), extent)) if extent.messages else self.head

    async def upkeep(self, keep_from: int) -> int:
        """Applies retention; nothing at or beyond `keep_from` is deleted. Returns the events deleted.

        Bytes are judged by the mean size of an event, for a stream tells no more.
        """
        extent = await self._measure()
        cut = 0
        if self._settings.retention_age:
            cut = await self.position_before(self._clock.now() - self._settings.retention_age)
        if self._settings.retention_bytes and extent.bytes > self._settings.retention_bytes:
            mean = extent.bytes / extent.messages
            cut = max(cut, extent.last - int(self._settings.retention_bytes / mean))
        cut = min(cut, keep_from - 1, self.head)
        if not extent.messages or cut < extent.first:
            return 0
        # who reads on must be told that positions are gone before they are
        self.first = cut + 1
        deleted = await self._stream.cut(cut)
        await self._measure()
        return deleted

    async def newest_of(self, subject: str) -> int:
        """Position of a subject's newest event; 0 when it has none."""
        remembered = self._window.newest_of(subject)
        if remembered is not None:
            return remembered
        places = every_type(self._nats.prefix, subject, _DEPTHS)
        found = await asyncio.gather(*(self._stream.last_of(place) for place in places))
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
            self.size_bytes += len(item.payload)
        entries = ((position, self._type_id(item.event_type), item.payload) for position, item in enumerate(items, first))
        now_us = to_us(self._clock.now())
        self._advance(self.head + len(items), list(batches_of(entries, now_us, self._settings.coalesce_bytes)))

    async def _measure(self) -> Extent:
        """Asks the stream for its extent."""
        extent = await self._stream.extent()
        self.first = extent.first if extent.messages else 0
        self.size_bytes = extent.bytes
        return extent

    async def _event(self, position: int) -> Event | None:
        recent = self._recent.after(position - 1, 1)
        if recent and recent[0].position <= position:
            event = recent[0].decode()[position - recent[0].position]
        else:
            message = await self._stream.message(position) if 0 < position <= self.head else None
            if message is None or item_of(message, self._nats.prefix) is None:
                return None
            event = Event.FromString(message.payload)
        event.position = position
        return event

    def _remember(self, messages: Iterable[Incoming]) -> None:
        for message in messages:
            item = item_of(message, self._nats.prefix)
            if item is not None:
                self._window.add(item.key, item.subject, message.sequence)

    def _batches(self, messages: Iterable[Incoming]) -> list[Batch]:
        """Stored messages as batches; what no bus wrote is passed over."""
        time_us = 0
        entries = []
        for message in messages:
            time_us = time_us or message.time_us
            item = item_of(message, self._nats.prefix)
            if item is not None:
                entries.append((message.sequence, self._type_id(item.event_type), item.payload))
        return list(batches_of(entries, time_us, self._settings.coalesce_bytes))

    def _type_id(self, name: str) -> int:
        number = self._types.get(name)
        if number is None:
            number = self._types[name] = len(self._types) + 1
            self.types_version += 1
        return number

    def _advance(self, head: int, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self._recent.add(batch)
        self.first = self.first or self.head + 1
        self.head = head
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
