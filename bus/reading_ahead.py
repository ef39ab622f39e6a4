"""Reads the next part of the log from the disk while the last one is dealt out and sent."""

import asyncio
import weakref
from dataclasses import dataclass

from bus.slices import Chunk
from bus.storage import EventLog


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class _Ahead:
    """What is being read: after which position, at most how much, and as which state of the log."""

    after: int
    max_bytes: int
    state: tuple[int, int]
    chunk: asyncio.Task[Chunk]


class ReadAhead:
    """One reader's way through the log. It reads ahead only what is not in memory, and only while not too many others do."""

    def __init__(self, log: EventLog, types: bytes | None) -> None:
        self._log = log
        self._types = types
        self._ahead: _Ahead | None = None

    async def read(self, after: int, max_bytes: int) -> Chunk:
        """The next part; BeforeRetention, CorruptBatch."""
        ahead, self._ahead = self._ahead, None
        if ahead and (ahead.after, ahead.max_bytes) == (after, max_bytes):
            chunk = await ahead.chunk
        else:
            chunk = None
        if chunk is None or not ahead or ahead.state != self._state:
            # what was erased or deleted since it was read is not told any more
            chunk = await self._log.read(after, self._types, max_bytes)
        if after < chunk.scanned < self._log.head and not self._log.in_memory(chunk.scanned) and self._log.may_read_ahead():
            self._begin(chunk.scanned, max_bytes)
        return chunk

    def drop(self) -> None:
        """Lets go of what was read ahead."""
        self._ahead = None

    @property
    def _state(self) -> tuple[int, int]:
        """What changes when something leaves the log."""
        return self._log.left, self._log.first

    def _begin(self, after: int, max_bytes: int) -> None:
        reading = asyncio.create_task(self._log.read(after, self._types, max_bytes))
        reading.add_done_callback(_looked_at)
        self._ahead = _Ahead(after, max_bytes, self._state, reading)
        self._log.reading_ahead += 1
        # it takes memory until it is asked for, or its reader is gone
        weakref.finalize(self._ahead, _let_go, self._log).atexit = False


def _let_go(log: EventLog) -> None:
    log.reading_ahead -= 1


def _looked_at(reading: asyncio.Task[Chunk]) -> None:
    """Asks for a failure, for nobody may ever come for what was read."""
    if not reading.cancelled():
        reading.exception()
