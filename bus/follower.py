"""Followers: readers that keep up with the log from a position, live, with heartbeats; nothing about them is stored."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from bus.filters import Filter
from bus.matching import Matcher
from bus.slices import Slice
from bus.storage import EventLog


@dataclass(frozen=True, slots=True)
class Part:
    """Some events, or a sign of life when there are none. Nothing at or below `progress` is still to come."""

    progress: int
    slices: Sequence[Slice] = ()


class Follower:
    """Reads on from a position. A slow one waits for nobody and holds up nobody: what it has not read yet lies in the log."""

    def __init__(self, log: EventLog, wanted: Filter, after: int) -> None:
        self._log = log
        self._matcher = Matcher(log, wanted)
        self._after = after

    async def read(self, max_bytes: int = 0) -> Part:
        """What comes next, without waiting; an empty part when there is nothing (yet). BeforeRetention, CorruptBatch."""
        chunk = await self._matcher.read(self._after, max_bytes)
        self._after = chunk.scanned
        return Part(chunk.scanned, chunk.slices)

    def go_back(self, after: int) -> None:
        """Reads on from an earlier position: what was read beyond it was not told."""
        self._after = after

    async def follow(self, heartbeat: float) -> AsyncIterator[Part]:
        """Parts until the log ends its waits: first a sign of life with where it stands, then events; a sign after each silence.

        A filter that matches nothing still moves the bookmark: silence is measured on the stream, not on the log.
        """
        loop = asyncio.get_running_loop()
        yield Part(self._after)
        due = loop.time() + heartbeat
        while not self._log.ended:
            if self._after >= self._log.head and loop.time() < due:
                await self._log.wait_beyond(self._after, due - loop.time())
            part = await self.read()
            if part.slices or loop.time() >= due:
                yield part
                due = loop.time() + heartbeat
