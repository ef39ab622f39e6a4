"""Picks a reader's events out of the log's batches."""

from collections.abc import Iterable, Iterator

from tooloo.event.v1.event_pb2 import Event

from bus.batches import Batch
from bus.filters import Failed, Filter, Verdict
from bus.log import Chunk, Log


class Matcher:
    """A filter over one log: passes whole batches over by their type ids before any event is looked at."""

    def __init__(self, log: Log, wanted: Filter) -> None:
        self._log = log
        self._filter = wanted
        self._types: frozenset[int] | None = None
        self._types_version = -1

    async def read(self, after: int, max_bytes: int = 0) -> Chunk:
        """The next batches beyond a position that may hold wanted events. BeforeRetention, CorruptBatch."""
        return await self._log.read(after, self._wanted_types(), max_bytes)

    def matching(self, chunk: Chunk, after: int) -> list[tuple[int, Event]]:
        """The wanted events of a chunk beyond a position, each with its own; one that the expression fails on is passed over."""
        pairs, failures = self.judged(chunk, after)
        return [pair for pair in pairs if pair[0] not in failures] if failures else pairs

    def judged(self, chunk: Chunk, after: int) -> tuple[list[tuple[int, Event]], dict[int, str]]:
        """The wanted events and those that the expression fails on, in order; the errors of the latter come second, by position."""
        failures: dict[int, str] = {}
        pairs = [pair for batch in chunk.batches for pair in self._of(batch, after, failures)]
        self._log.filter_failures += len(failures)
        return pairs, failures

    def _of(self, batch: Batch, after: int, failures: dict[int, str]) -> list[tuple[int, Event]]:
        chosen = self._filter
        events = batch.after(after)
        if chosen.every_type and chosen.only_types:
            return list(events)
        if chosen.cel:
            return list(self._asked(events, failures))
        return [
            (position, event)
            for position, event in events
            if chosen.wants_type(event.type) and chosen.wants(event.source, event.subject, event.attributes)
        ]

    def _asked(self, events: Iterable[tuple[int, Event]], failures: dict[int, str]) -> Iterator[tuple[int, Event]]:
        """The events that the whole filter wants, and those that its expression fails on."""
        for position, event in events:
            verdict = self._filter.judge(position, event)
            if isinstance(verdict, Failed):
                failures[position] = verdict.error
            if verdict is not Verdict.PASSED_OVER:
                yield position, event

    def _wanted_types(self) -> frozenset[int] | None:
        if self._filter.every_type:
            return None
        if self._types_version != self._log.types_version:
            self._types_version = self._log.types_version
            self._types = self._log.type_ids(self._filter.wants_type)
        return self._types
