"""What goes out of the stream: by age and count, by type, by subject, by what supersedes it. What outlives it is noted first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from bus.jetstream import removal
from bus.jetstream.connection import Incoming
from bus.jetstream.messages import item_of
from bus.jetstream.notes import Notes
from bus.jetstream.settings import NatsSettings
from bus.jetstream.stream import Stream
from bus.jetstream.tail import Tail
from bus.jetstream.types import Types
from bus.storage import DiskFull, EventLog, KeepFrom

_READ_BYTES = 512 * 1024


class Upkeep:
    """Deletes a part at a time. Positions never move."""

    def __init__(self, log: EventLog, stream: Stream, notes: Notes, tail: Tail, types: Types, nats: NatsSettings) -> None:
        self._log = log
        self._stream = stream
        self._notes = notes
        self._tail = tail
        self._types = types
        self._prefix = nats.prefix
        self._unique_count = nats.unique_count
        # erased since the last turn, and between the two before: a replica that lags still has them
        self._erased: set[int] = set()
        self._erased_before: set[int] = set()

    def was_erased(self, position: int) -> bool:
        """Whether an event was taken out lately."""
        return position in self._erased or position in self._erased_before

    async def turn(self) -> None:
        """Once in a while: lets go of what is remembered of the past."""
        self._erased_before, self._erased = self._erased, set()
        await self._notes.forget_ids(self._log.head - self._unique_count)

    async def purge(self, after: int, up_to: int, keep_from: KeepFrom, event_type: str = "") -> int:
        """Deletes the events beyond a position and up to another, all or those of a type, before `keep_from`; returns how many."""
        place = f"{self._prefix}.{event_type}.*" if event_type else ""
        deleted = 0
        while after < (end := min(up_to, keep_from() - 1)):
            # what an erase takes nobody may be noting meanwhile
            async with self._log.leaving:
                messages, after = await self._stream.read(after, end, _READ_BYTES, place or ">")
                if after >= keep_from():
                    # a subscription was moved back meanwhile: the next time will do
                    break
                if not messages:
                    continue
                if event_type:
                    self._tail.forget_all()
                else:
                    # who reads on must be told that positions are gone before they are
                    self._log.first = max(self._log.first, after + 1)
                deleted += await _noted(partial(self._note, messages), partial(self._stream.purge, after, place))
        return deleted

    async def erase(self, subject: str) -> int:
        """Takes out every event of a subject, and what is noted of its version; returns how many. For who holds `leaving`."""
        removed = await self._remove(await removal.of_subject(self._stream, self._tail.places(subject), self._log.head))
        self._tail.window.forget_subject(subject)
        await self._notes.forget_subject(subject, self._types.depths)
        return removed

    async def compact(self, event_type: str, bounds: removal.Bounds, keep_from: KeepFrom) -> int:
        """Takes out what a newer event of its type and subject supersedes; returns how many."""
        place = f"{self._prefix}.{event_type}.*"
        async with self._log.leaving:
            found = await removal.superseded(self._stream, place, self._log.head, bounds)
            # a subscription may have been moved back since they were found
            return await self._remove([position for position in found if position < keep_from()])

    async def _remove(self, positions: Sequence[int]) -> int:
        if not positions:
            return 0
        ids = self._tail.window.keys_at(frozenset(positions))
        return await _noted(partial(self._notes.note_ids, ids), partial(self._take_out, positions))

    async def _take_out(self, positions: Sequence[int]) -> int:
        """From the stream, and from memory."""
        for position in positions:
            await self._stream.erase(position)
            self._tail.forget(position)
            self._erased.add(position)
        self._log.removed += len(positions)
        self._log.left += 1
        return len(positions)

    async def _note(self, messages: Sequence[Incoming]) -> None:
        """Notes ids that are still remembered, and versions, unless something newer stands."""
        ids: dict[int, bytes] = {}
        versions: dict[str, int] = {}
        for message in messages:
            item = item_of(message, self._types, self._prefix)
            if item is None:
                continue
            if message.sequence > self._log.head - self._unique_count:
                ids[message.sequence] = item.key
            if (self._tail.window.newest_of(item.subject) or 0) <= message.sequence:
                versions[message.subject.removeprefix(f"{self._prefix}.")] = message.sequence
        await self._notes.note_ids(ids)
        await self._notes.note_versions(versions)


async def _noted(note: Callable[[], Awaitable[None]], remove: Callable[[], Awaitable[int]]) -> int:
    """Notes what outlives events, then removes them; returns how many."""
    try:
        await note()
    except DiskFull:
        # what goes makes room for what is noted of it
        gone = await remove()
        await note()
        return gone
    return await remove()
