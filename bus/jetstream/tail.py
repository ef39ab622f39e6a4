"""The end of the log as this bus holds it in memory: the newest events, and the ids that it remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from bus.batches import Batch
from bus.jetstream.connection import Incoming
from bus.jetstream.messages import Item, batches_of, item_of
from bus.jetstream.notes import Notes
from bus.jetstream.settings import NatsSettings
from bus.jetstream.stream import Extent, Stream
from bus.jetstream.subjects import every_type
from bus.jetstream.types import Types
from bus.jetstream.window import Window
from bus.recent import Recent
from bus.removal import without
from bus.settings import BusSettings
from bus.storage import EventLog
from mesh.clock import Clock, to_us


class Tail:
    """Moved by the writer alone, and the head of the log with it, over what NATS has acknowledged."""

    def __init__(
        self, log: EventLog, stream: Stream, notes: Notes, types: Types, settings: BusSettings, nats: NatsSettings, clock: Clock
    ) -> None:
        self._log = log
        # bytes stored since the stream was measured
        self.grown = 0
        # what NATS still takes for a repeat the bus must know as one, or it could never store it nor say where it stands
        self._young = 2 * nats.duplicate_window
        self.window = Window(nats.unique_count, self._young.total_seconds(), clock.monotonic)
        self._stream = stream
        self._notes = notes
        self._types = types
        self._settings = settings
        self._prefix = nats.prefix
        self._clock = clock
        self._recent = Recent(settings.recent_bytes)
        self._still_ours: Callable[[], Awaitable[None]]

    async def start(self, extent: Extent, still_ours: Callable[[], Awaitable[None]]) -> None:
        """Begins at the end of the stream, and reads which ids its newest events have, and those that are gone had."""
        self._still_ours = still_ours
        self._log.head = extent.last
        young = await self._stream.position_before(to_us(self._clock.now() - self._young), extent)
        after = max(min(self._log.head - self.window.size, young), 0)
        ids = dict(position_and_key for position_and_key in await self._notes.ids() if position_and_key[0] > after)
        while after < self._log.head:
            messages, after = await self._stream.read(after, self._log.head, self._settings.recent_bytes)
            ids.update((sequence, item.key) for sequence, item in self._items(messages))
        for position, key in sorted(ids.items()):
            # not its subject: what a newer event of it says may be noted alone
            self.window.add(key, "", position)

    def measured(self, extent: Extent) -> None:
        """Takes over what the stream holds."""
        # what is about to be deleted counts as gone already: it may still have stood when the stream was asked
        self._log.first = max(self._log.first, extent.first) if extent.messages else 0
        self.grown = 0

    def recent(self, after: int, max_bytes: int) -> list[Batch] | None:
        """Batches in memory beyond a position; they always reach to the head. None when the stream must be asked."""
        return self._recent.after(after, max_bytes)

    def held(self, position: int) -> Batch | None:
        """The batch in memory that holds a position."""
        found = self._recent.after(position - 1, 1)
        return found[0] if found and found[0].position <= position else None

    def forget(self, position: int) -> None:
        """An event is gone: memory must not show it any more."""
        batch = self.held(position)
        if batch is not None:
            self._recent.replace(without(batch, [position - batch.position]))

    def forget_all(self) -> None:
        """Many events are gone: readers go to the stream until memory has filled again."""
        self._recent = Recent(self._settings.recent_bytes)

    def places(self, subject: str) -> list[str]:
        """The NATS subjects under which a subject's events stand."""
        return every_type(self._prefix, subject, self._types.depths)

    async def newest_of(self, subject: str) -> int:
        """Position of a subject's newest event; 0 when it has none."""
        remembered = self.window.newest_of(subject)
        if remembered is not None:
            return remembered
        found = await asyncio.gather(*(self._stream.last_of(place) for place in self.places(subject)))
        standing = max((message.sequence for message in found if message), default=0)
        return max(standing, await self._notes.version_of(subject, self._types.depths))

    async def catch_up(self) -> None:
        """Takes in what stands beyond the head: from an attempt whose answer was lost, or from the owner before this one."""
        await self._still_ours()
        while (message := await self._stream.next_from(self._log.head + 1)) is not None:
            for sequence, item in self._items([message]):
                self.window.add(item.key, item.subject, sequence)
            self._advance(message.sequence, self.batches([message]))

    def stored(self, items: Sequence[Item]) -> None:
        """Moves the head over events that were stored."""
        first = self._log.head + 1
        for position, item in enumerate(items, first):
            self.window.add(item.key, item.subject, position)
            self.grown += len(item.encoded)
        batches = batches_of(enumerate(items, first), to_us(self._clock.now()), self._settings.coalesce_bytes)
        self._advance(self._log.head + len(items), batches)

    def batches(self, messages: Sequence[Incoming]) -> list[Batch]:
        """Stored messages as batches; what no bus wrote is passed over."""
        time_us = messages[0].time_us if messages else 0
        return list(batches_of(self._items(messages), time_us, self._settings.coalesce_bytes))

    def _items(self, messages: Sequence[Incoming]) -> Iterator[tuple[int, Item]]:
        """What is an event, with its position."""
        for message in messages:
            item = item_of(message, self._types, self._prefix)
            if item is not None:
                yield message.sequence, item

    def _advance(self, head: int, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self._recent.add(batch)
        self._log.grow(head)
