"""Picks a reader's events out of the log's batches."""

from tooloo.event.v1.event_pb2 import Event

from bus.batches import Batch
from bus.filters import Filter
from bus.log import Chunk
from bus.storage import EventLog


class Matcher:
    """A filter over one log: passes whole batches over by their type ids before any event is looked at."""

    def __init__(self, log: EventLog, wanted: Filter) -> None:
        self._log = log
        self._filter = wanted
        self._types: frozenset[int] | None = None
        self._types_version = -1

    async def read(self, after: int, max_bytes: int = 0) -> Chunk:
        """The next batches beyond a position that may hold wanted events. BeforeRetention, CorruptBatch."""
        return await self._log.read(after, self._wanted_types(), max_bytes)

    def matching(self, chunk: Chunk, after: int) -> list[tuple[int, Event]]:
        """The wanted events of a chunk beyond a position, each with its own."""
        return [pair for batch in chunk.batches for pair in self._of(batch, after)]

    def _of(self, batch: Batch, after: int) -> list[tuple[int, Event]]:
        chosen = self._filter
        events = batch.after(after)
        if chosen.every_type and chosen.only_types:
            return list(events)
        return [
            (position, event)
            for position, event in events
            if chosen.wants_type(event.type) and chosen.wants(event.source, event.subject, event.attributes)
        ]

    def _wanted_types(self) -> frozenset[int] | None:
        if self._filter.every_type:
            return None
        if self._types_version != self._log.types_version:
            self._types_version = self._log.types_version
            self._types = self._log.type_ids(self._filter.wants_type)
        return self._types
