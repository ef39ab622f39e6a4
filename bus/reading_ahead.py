"""Reads the next part of the log from the disk while the last one is dealt out and sent."""

import asyncio
from dataclasses import dataclass

from bus.slices import Chunk
from bus.storage import EventLog


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What is being read: after which position, at most how much."""

    after: int
    max_bytes: int
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
            chunk = await self._log.read(after, self._types, max_bytes)
        if after < chunk.scanned < self._log.head and not self._log.in_memory(chunk.scanned) and self._log.may_read_ahead():
            self._begin(chunk.scanned, max_bytes)
        return chunk

    def drop(self) -> None:
        """Lets go of what was read ahead."""
        self._ahead = None

    def _begin(self, after: int, max_bytes: int) -> None:
        reading = asyncio.create_task(self._log.read(after, self._types, max_bytes))
        self._log.reading_ahead += 1
        reading.add_done_callback(self._ended)
        self._ahead = _Ahead(after, max_bytes, reading)

    def _ended(self, reading: asyncio.Task[Chunk]) -> None:
        self._log.reading_ahead -= 1
        if not reading.cancelled():
            # asked for here too, for nobody may ever come for it
            reading.exception()
