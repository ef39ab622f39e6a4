"""Picks a reader's events out of the log: by type before a record is opened, by everything else event by event."""

import asyncio

from bus.filters import Failed, Filter, Verdict
from bus.reading_ahead import ReadAhead
from bus.slices import Chunk, Slice
from bus.storage import EventLog

# events that are judged in one turn of the loop
_TURN = 100


class Matcher:
    """A filter over one log."""

    def __init__(self, log: EventLog, wanted: Filter) -> None:
        self._log = log
        self._filter = wanted
        self._types = log.wanted_types(wanted)
        self._ahead = ReadAhead(log, self._types)

    async def read(self, after: int, max_bytes: int = 0) -> Chunk:
        """The wanted events of the next part of the log beyond a position; one that the expression fails on is passed over.

        BeforeRetention, CorruptBatch.
        """
        chunk, failures = await self.judged(after, max_bytes)
        if not failures:
            return chunk
        return Chunk([part for whole in chunk.slices if (part := whole.beside(failures))], chunk.scanned)

    async def judged(self, after: int, max_bytes: int = 0) -> tuple[Chunk, dict[int, str]]:
        """As read(), but with the events that the expression fails on; their errors come second, by position."""
        left = self._log.left
        chunk, failures = await self._judged(after, max_bytes)
        if left != self._log.left:
            # what left the log while it was read or judged is not told any more
            chunk, failures = await self._log.undisturbed(lambda: self._judged(after, max_bytes))
        self._log.filter_failures += len(failures)
        return chunk, failures

    def now(self, after: int) -> Chunk | None:
        """As read(), when nothing has to be waited for and no event has to be looked at; else None."""
        return self._log.read_now(after, self._types) if self._filter.by_type_alone else None

    def read_again(self) -> None:
        """Lets go of what was read ahead: the log may stand otherwise by now."""
        self._ahead.drop()

    async def _judged(self, after: int, max_bytes: int) -> tuple[Chunk, dict[int, str]]:
        chunk = await self._ahead.read(after, max_bytes)
        failures: dict[int, str] = {}
        if self._filter.by_type_alone:
            return chunk, failures
        chosen = [part for whole in chunk.slices if (part := await self._chosen(whole, failures))]
        return Chunk(chosen, chunk.scanned), failures

    async def _chosen(self, whole: Slice, failures: dict[int, str]) -> Slice | None:
        indexes = []
        for index, (position, event) in enumerate(zip(whole.positions, whole.decode(), strict=True)):
            if index % _TURN == 0:
                # an expression takes tens of microseconds an event: whoever waits for the loop goes in between
                await asyncio.sleep(0)
            verdict = self._filter.judge(position, event)
            if isinstance(verdict, Failed):
                failures[position] = verdict.error
            if verdict is not Verdict.PASSED_OVER:
                indexes.append(index)
        return whole.chosen(indexes)
