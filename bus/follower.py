"""Followers: readers that keep up with the log from a position, live, with heartbeats; nothing about them is stored."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tooloo.event.v1.event_pb2 import Event

from bus.filters import Filter
from bus.matching import Matcher
from bus.storage import EventLog


@dataclass
class Part:
    """Some events with their positions, or a sign of life when there are none. Nothing at or below `progress` is still to come."""

    progress: int
    events: list[tuple[int, Event]] = field(default_factory=list)


class Follower:
    """Reads on from a position. A slow one waits for nobody and holds up nobody: what it has not read yet lies in the log."""

    def __init__(self, log: EventLog, wanted: Filter, after: int) -> None:
        self._log = log
        self._matcher = Matcher(log, wanted)
        self._after = after

    async def read(self, max_bytes: int = 0) -> Part:
        """What comes next, without waiting; an empty part when there is nothing (yet). BeforeRetention, CorruptBatch."""
        chunk = await self._matcher.read(self._after, max_bytes)
        part = Part(chunk.scanned, self._matcher.matching(chunk, self._after))
        self._after = chunk.scanned
        return part

    async def follow(self, heartbeat: float, max_bytes: int) -> AsyncIterator[Part]:
        """Parts until the log ends its waits: first a sign of life with where it stands, then events; a sign after each silence.

        A filter that matches nothing still moves the bookmark: silence is measured on the stream, not on the log.
        """
        loop = asyncio.get_running_loop()
        yield Part(self._after)
        due = loop.time() + heartbeat
        while not self._log.ended:
            part = await self.read(max_bytes)
            if not part.events and loop.time() < due:
                if part.progress >= self._log.head:
                    await self._log.wait_beyond(self._after, due - loop.time())
                continue
            yield part
            due = loop.time() + heartbeat
