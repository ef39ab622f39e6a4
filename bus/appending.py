"""How waiting publishes become records: uniqueness, expected versions, positions, coalescing; in the writer's transaction."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bus import store
from bus.batches import Append, Appended, Batch, VersionConflict, encode_types


@dataclass
class _Record:
    """A batch being put together from neighbours."""

    position: int
    type_ids: list[int] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0


class Appender:
    """Stores publishes at the end of the log. Used by the writer's thread alone; its memory is what the committed file says."""

    def __init__(self, connection: sqlite3.Connection, coalesce_bytes: int) -> None:
        self._connection = connection
        self._coalesce_bytes = coalesce_bytes
        self.reload()

    def reload(self) -> None:
        """Reads head, time and type ids from the file: at the start, and after a transaction was undone."""
        self.head, self._time_us = store.head(self._connection)
        self._types = store.event_types(self._connection)
        self._told = len(self._types)

    def new_types(self) -> Mapping[str, int] | None:
        """All type ids when there are new ones since the last call, else None; call it after the commit."""
        if len(self._types) == self._told:
            return None
        self._told = len(self._types)
        return dict(self._types)

    def store(self, appends: Sequence[Append], now_us: int) -> tuple[list[Appended | VersionConflict], list[Batch]]:
        """Stores publishes in order; gives the outcome of each, and the batches that hold what is new."""
        # the log's times never fall, whatever the clock does, so that a time can be searched
        self._time_us = max(self._time_us, now_us)
        outcomes: list[Appended | VersionConflict] = []
        batches: list[Batch] = []
        record = _Record(self.head + 1)
        for append in appends:
            outcome, fresh = self._place(append)
            outcomes.append(outcome)
            if not fresh:
                continue
            encoded = append.encoded if len(fresh) == len(append.events) else append.only(fresh)
            if record.pieces and record.size + len(encoded) > self._coalesce_bytes:
                batches.append(self._insert(record))
                record = _Record(batches[-1].last + 1)
            record.type_ids.extend(self._type_id(append.events[index].type) for index in fresh)
            record.pieces.append(encoded)
            record.size += len(encoded)
        if record.pieces:
            batches.append(self._insert(record))
        return outcomes, batches

    def _place(self, append: Append) -> tuple[Appended | VersionConflict, list[int]]:
        """Gives the events of one publish their positions; the indexes of those that are new come second."""
        first = self.head + 1
        # the version is looked at only when something is new: a repeat must get its first answer
        if append.expected:
            positions, fresh = self._positions(append)
            if fresh and (standing := self._conflicts(append)):
                return VersionConflict(standing), []
            store.insert_ids(self._connection, first, [append.keys[index] for index in fresh])
        elif store.insert_ids(self._connection, first, append.keys):
            positions, fresh = list(range(first, first + len(append.keys))), list(range(len(append.keys)))
        else:
            positions, fresh = self._positions(append)
            store.insert_ids(self._connection, first, [append.keys[index] for index in fresh])
        self.head += len(fresh)
        store.move_subjects(self._connection, {append.events[index].subject: positions[index] for index in fresh}.items())
        return Appended(positions, len(append.keys) - len(fresh)), fresh

    def _positions(self, append: Append) -> tuple[list[int], list[int]]:
        """The slow way, for repeats: looks each id up, also within the publish itself."""
        positions: list[int] = []
        fresh: list[int] = []
        seen: dict[bytes, int] = {}
        for index, key in enumerate(append.keys):
            position = seen.get(key) or store.position_of_id(self._connection, key)
            if position is None:
                position = self.head + 1 + len(fresh)
                fresh.append(index)
            seen[key] = position
            positions.append(position)
        return positions, fresh

    def _conflicts(self, append: Append) -> dict[str, int]:
        standing = {subject: store.newest_of_subject(self._connection, subject) for subject in append.expected}
        return {subject: position for subject, position in standing.items() if position != append.expected[subject]}

    def _type_id(self, name: str) -> int:
        number = self._types.get(name)
        if number is None:
            number = self._types[name] = max(self._types.values(), default=0) + 1
            store.insert_event_type(self._connection, name, number)
        return number

    def _insert(self, record: _Record) -> Batch:
        batch = Batch(
            record.position,
            record.position + len(record.type_ids) - 1,
            self._time_us,
            encode_types(record.type_ids),
            b"".join(record.pieces),
        )
        store.insert_batch(self._connection, batch)
        return batch
