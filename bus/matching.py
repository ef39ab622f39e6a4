"""Picks a reader's events out of the log: by type before a record is opened, by everything else event by event."""

from bus.filters import Filter
from bus.log import Chunk, Log
from bus.slices import Slice


class Matcher:
    """A filter over one log."""

    def __init__(self, log: Log, wanted: Filter) -> None:
        self._log = log
        self._filter = wanted
        self._types = log.wanted_types(wanted)

    async def read(self, after: int, max_bytes: int = 0) -> Chunk:
        """The wanted events of the next part of the log beyond a position. BeforeRetention, CorruptBatch."""
        chunk = await self._log.read(after, self._types, max_bytes)
        if self._filter.by_type_alone:
            return chunk
        return Chunk([part for whole in chunk.slices if (part := self._chosen(whole))], chunk.scanned)

    def _chosen(self, whole: Slice) -> Slice | None:
        wants = self._filter.wants
        events = whole.decode()
        return whole.chosen([index for index, event in enumerate(events) if wants(event.subject, event.attributes)])
