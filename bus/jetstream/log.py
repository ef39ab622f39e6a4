"""The log on a JetStream stream: a position is a stream sequence; the newest events are held in memory for those who keep up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta

from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from bus.batches import GONE, Append, Appended
from bus.jetstream import removal
from bus.jetstream.connection import Connection
from bus.jetstream.messages import item_of
from bus.jetstream.notes import Notes
from bus.jetstream.settings import NatsSettings
from bus.jetstream.stream import Extent, Stream
from bus.jetstream.sync import NotSynced, check_sync
from bus.jetstream.tail import Tail
from bus.jetstream.types import Types
from bus.jetstream.upkeep import Upkeep
from bus.jetstream.writer import Writer
from bus.settings import BusSettings, retention_of_types
from bus.slices import Chunk, cut
from bus.storage import EventLog, KeepFrom
from mesh.clock import Clock, from_us, to_us

_READS_AT_ONCE = 32


class JetStreamLog(EventLog):
    """One log in one stream, of which this process is the only writer."""

    way = "jetstream"

    def __init__(
        self,
        connection: Connection,
        stream: Stream,
        notes: Notes,
        types: Types,
        settings: BusSettings,
        nats: NatsSettings,
        clock: Clock,
    ) -> None:
        """On a connection, a stream and notes that stand; start() reads the rest."""
        super().__init__(types.rows, settings, clock)
        if nats.replicas > 1:
            self.durability = pb.PublishResponse.DURABILITY_QUORUM_FSYNC
        self._connection = connection
        self._stream = stream
        self._nats = nats
        self._types = types
        self._tail = Tail(self, stream, notes, types, settings, nats, clock)
        self._bytes = 0
        self._upkeep = Upkeep(self, stream, notes, self._tail, types, nats)
        self._writer: Writer
        self._on_failure: Callable[[BaseException], None]
        self._forget_subject: Callable[[str], Awaitable[None]]

    async def start(
        self,
        still_ours: Callable[[], Awaitable[None]],
        forget_subject: Callable[[str], Awaitable[None]],
        has_room: Callable[[], Awaitable[bool]],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Reads where the stream ends and which ids it holds.

        `still_ours` raises when another bus owns the log; `forget_subject` erases what subscriptions keep of a subject;
        `has_room` says whether publishes may go on after NATS had no room.
        """
        self._forget_subject = forget_subject
        self._on_failure = on_failure
        await self._tail.start(await self._measure(), still_ours)
        self._writer = Writer(self, self._connection, self._tail, self._types, self._settings, self._nats, has_room, on_failure)

    async def close(self) -> None:
        """Stores what waits, then lets go of the stream."""
        await self._writer.close()

    @property
    def size_bytes(self) -> int:
        """Bytes of the stream when it was measured last, and what was stored since."""
        return self._bytes + self._tail.grown

    @property
    def commits(self) -> int:
        """Batches stored since the log was opened."""
        return self._writer.commits

    @property
    def remembered_ids(self) -> int:
        """Ids that are remembered to refuse repeats."""
        return len(self._tail.window)

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

    def in_memory(self, after: int) -> bool:
        """Whether read() finds what stands beyond a position in memory."""
        return self._tail.recent(after, 1) is not None

    async def read_stored(self, after: int, wanted: bytes | None, max_bytes: int) -> Chunk:
        """As read(), from the stream."""
        messages, scanned = await self._stream.read(after, self.head, max_bytes or self._settings.read_bytes)
        batches = self._tail.batches([message for message in messages if not self._upkeep.was_erased(message.sequence)])
        return Chunk([part for batch in batches if (part := cut(batch, after, wanted))], scanned)

    def read_now(self, after: int, wanted: bytes | None = None, max_bytes: int = 0) -> Chunk | None:
        """As read(), when nothing has to be asked of NATS; else None."""
        if after >= self.head:
            return Chunk((), after)
        self.check_start(after)
        batches = self._tail.recent(after, max_bytes or self._settings.read_bytes)
        if batches is None:
            return None
        # memory always reaches to the head
        scanned = batches[-1].last if batches else self.head
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

    async def time_of(self, position: int) -> datetime | None:
        """When the event at a position was stored; None when it is not kept."""
        if not self.first <= position <= self.head or not position:
            return None
        held = self._tail.held(position)
        if held is not None:
            return from_us(held.time_us)
        message = await self._stream.message(position)
        return from_us(message.time_us) if message else None

    async def position_before(self, moment: datetime) -> int:
        """The position after which everything was stored at or after a time."""
        extent = await self._stream.extent()
        return min(self.head, await self._stream.position_before(to_us(moment), extent)) if extent.messages else self.head

    async def upkeep(self, keep_from: KeepFrom) -> int:
        """Applies retention; nothing at or beyond `keep_from` is deleted. Returns the events deleted.

        Bytes are judged by the mean size of an event, for a stream tells no more. That every write is synced is asked again, too.
        """
        await self._check_sync()
        await self._upkeep.turn()
        extent = await self._measure()
        up_to = min(await self._plan(extent), self.head)
        deleted = await self._upkeep.purge(extent.first - 1, up_to, keep_from) if extent.messages else 0
        now = self._clock.now()
        for pattern, age in retention_of_types(self._settings.retention_types):
            up_to = await self.position_before(now - age)
            for name in self._types.matching(pattern):
                deleted += await self._upkeep.purge(extent.first - 1, up_to, keep_from, name)
        if deleted:
            await self._measure()
        return deleted

    async def erase(self, subject: str) -> int:
        """Takes every event of a subject out of the log and what subscriptions keep of it. Returns their number."""
        async with self.leaving:
            removed = await self._upkeep.erase(subject)
            await self._measure()
            await self._forget_subject(subject)
            self.left += 1
        return removed

    async def compact(self, patterns: Sequence[str], min_age: timedelta, keep_from: KeepFrom) -> int:
        """Keeps of each subject only the newest event of each type named. Returns the number of events that are gone."""
        before_us, removed = to_us(self._clock.now() - min_age) + 1, 0
        for name in dict.fromkeys(name for pattern in patterns for name in self._types.matching(pattern)):
            bounds = removal.Bounds(before_us, keep_from(), self._settings.compact_subjects)
            removed += await self._upkeep.compact(name, bounds, keep_from)
        if removed:
            await self._measure()
        return removed

    async def _measure(self) -> Extent:
        """Asks the stream for its extent."""
        extent = await self._stream.extent()
        self._tail.measured(extent)
        self._bytes = extent.bytes
        return extent

    async def _event(self, position: int) -> Event | None:
        batch = self._tail.held(position)
        if batch is not None:
            index = position - batch.position
            if batch.type_ids()[index] == GONE:
                return None
            event = batch.decode()[index]
        else:
            message = await self._stream.message(position) if 0 < position <= self.head else None
            if message is None or item_of(message, self._types, self._nats.prefix) is None:
                return None
            event = Event.FromString(message.payload)
        event.position = position
        return event

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

    def _count(self, done: asyncio.Future[Appended]) -> None:
        if not done.cancelled() and done.exception() is None:
            appended = done.result()
            self.published += len(appended.positions) - appended.duplicates
            self.duplicates += appended.duplicates
