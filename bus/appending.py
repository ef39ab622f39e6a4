"""How waiting publishes become records: uniqueness, expected versions, positions, coalescing; in the writer's transaction."""

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bus import batch_store, key_store
from bus.batches import TYPE_BYTES, Append, Appended, Batch, VersionConflict
from bus.native import ID_BYTES, IdWindow
from bus.notes import Notes


@dataclass(slots=True)
class _Record:
    """A batch being put together from neighbours."""

    position: int
    count: int = 0
    size: int = 0
    types: list[bytes] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)

    def add(self, append: Append) -> None:
        self.count += append.count
        self.size += len(append.events)
        self.types.append(append.types)
        self.ids.append(append.ids)
        self.events.append(append.events)


class Appender:
    """Stores publishes at the end of the log. For one thread at a time; its memory is what the committed file says.

    Each place() is followed by insert() and committed(), or by undo().
    """

    def __init__(
        self, connection: sqlite3.Connection, types: Sequence[tuple[int, str, str]], coalesce_bytes: int, unique_count: int
    ) -> None:
        self._connection = connection
        self._coalesce_bytes = coalesce_bytes
        self._unique_count = unique_count
        self._sources = _sources(types)
        self._window = IdWindow(self._sources)
        self._notes = Notes(connection)
        self._placed: list[tuple[int, Append]] = []
        self.head, self._time_us = batch_store.head(connection)
        self._committed = self.head, self._time_us
        self._forgotten = key_store.forgotten_ids(connection)
        self._window.make_room(self.head - self.floor)
        for keys in self._notes.keys(self.floor):
            self._window.add(keys.ids, keys.types, keys.position, self.floor)

    @property
    def floor(self) -> int:
        """Ids of events at or below this position are no longer remembered."""
        return max(self._forgotten, self.head - self._unique_count)

    def forget(self, up_to: int) -> None:
        """Forgets the ids of events at or below a position."""
        self._forgotten = max(self._forgotten, up_to)

    def close(self) -> None:
        """Writes down what may still be written, and gives the window's memory back."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self.write_notes()
            self._connection.execute("COMMIT")
        finally:
            self._window.close()

    def place(self, appends: Sequence[Append], now_us: int) -> tuple[list[Appended | VersionConflict], list[Batch]]:
        """Gives publishes their places in order: the outcome of each, and the batches, to be inserted, that hold what is new."""
        if appends:
            # the log's times never fall, whatever the clock does, so that a time can be searched
            self._time_us = max(self._time_us, now_us)
        outcomes: list[Appended | VersionConflict] = []
        batches: list[Batch] = []
        record = _Record(self.head + 1)
        for append in appends:
            outcome, fresh = self._place(append)
            outcomes.append(outcome)
            if fresh is None:
                continue
            if record.count and record.size + len(fresh.events) > self._coalesce_bytes:
                batches.append(self._batch(record))
                record = _Record(batches[-1].last + 1)
            record.add(fresh)
        if record.count:
            batches.append(self._batch(record))
        return outcomes, batches

    @property
    def notes_due(self) -> bool:
        """Whether write_notes() should be called in the next transaction."""
        return self._notes.due(self.head)

    def insert(self, batches: Iterable[Batch]) -> None:
        """Writes batches; the caller's transaction, or, for one batch, the statement's own."""
        for batch in batches:
            batch_store.insert_batch(self._connection, batch)

    def write_notes(self) -> None:
        """Writes down ids and versions, once in the transaction at hand: also before what they are found by is deleted."""
        self._notes.write(self.head)

    def committed(self) -> None:
        """What was stored is on the disk."""
        self._placed.clear()
        self._notes.committed(self.head)
        self._committed = self.head, self._time_us

    def undo(self) -> None:
        """The transaction was rolled back."""
        for first, append in self._placed:
            self._window.remove(append.ids, append.types, first)
        self._placed.clear()
        self._notes.undo()
        self.head, self._time_us = self._committed

    def forget_subject(self, subject: str) -> None:
        """No version of this subject is known any more, unless an event of it stands; in a job for which notes are written."""
        self._notes.forget(subject)

    def _place(self, append: Append) -> tuple[Appended | VersionConflict, Append | None]:
        """Gives the events of one publish their positions; the publish of those that are new comes second."""
        first = self.head + 1
        if not append.expected and self._window.place(append.ids, append.types, first, self.floor):
            self._take(append, first)
            return Appended(range(first, first + append.count), 0), append
        positions, indexes = self._sort_out(append)
        if not indexes:
            return Appended(positions, append.count), None
        # the version is looked at only when something is new: a repeat must get its first answer
        if standing := self._conflicts(append):
            return VersionConflict(standing), None
        fresh = append if len(indexes) == append.count else append.only(indexes)
        self._window.add(fresh.ids, fresh.types, first, self.floor)
        self._take(fresh, first)
        return Appended(positions, append.count - fresh.count), fresh

    def _take(self, fresh: Append, first: int) -> None:
        self._placed.append((first, fresh))
        self._notes.move(fresh.subjects, first)
        self.head += fresh.count

    def _sort_out(self, append: Append) -> tuple[list[int], list[int]]:
        """The slow way, for repeats: looks each id up, also within the publish itself. Positions, and indexes of what is new."""
        positions: list[int] = []
        fresh: list[int] = []
        seen: dict[tuple[bytes, int], int] = {}
        types = memoryview(append.types).cast("H")
        for index in range(append.count):
            key = append.ids[ID_BYTES * index : ID_BYTES * (index + 1)]
            known = seen.get((key, self._sources[types[index]])) or self._standing(key, types[index])
            if not known:
                known = self.head + 1 + len(fresh)
                fresh.append(index)
            seen[key, self._sources[types[index]]] = known
            positions.append(known)
        return positions, fresh

    def _standing(self, key: bytes, type_id: int) -> int:
        """Where the event of this id stands; 0 when it is not remembered."""
        position = self._window.find(key, type_id, self.floor, self.head + 1)
        while position:
            stored = self._key_at(position)
            if stored and stored[0] == key and self._sources[stored[1]] == self._sources[type_id]:
                return position
            position = self._window.find(key, type_id, self.floor, position)
        return 0

    def _key_at(self, position: int) -> tuple[bytes, int] | None:
        """The id and type number at a position, also of what this transaction has placed and not inserted yet."""
        index = bisect_right(self._placed, position, key=_first) - 1
        if index >= 0:
            first, append = self._placed[index]
            return _key_in(append.ids + append.types, position - first)
        keys = self._notes.keys_at(position)
        return _key_in(keys.keys, position - keys.position) if keys else None

    def _conflicts(self, append: Append) -> dict[str, int]:
        standing = {subject: self._notes.newest(subject) for subject in append.expected}
        return {subject: position for subject, position in standing.items() if position != append.expected[subject]}

    def _batch(self, record: _Record) -> Batch:
        types, events, ids = b"".join(record.types), b"".join(record.events), b"".join(record.ids)
        self._notes.remember(key_store.Keys(record.position, self._time_us, ids + types))
        return Batch(record.position, record.position + record.count - 1, self._time_us, types, events)


def _first(placed: tuple[int, Append]) -> int:
    return placed[0]


def _key_in(keys: bytes, index: int) -> tuple[bytes, int] | None:
    """The id and type number at an index of `keys`: all ids, then all types."""
    count = len(keys) // (ID_BYTES + TYPE_BYTES)
    if index >= count:
        return None
    at = ID_BYTES * count + TYPE_BYTES * index
    return keys[ID_BYTES * index : ID_BYTES * (index + 1)], int.from_bytes(keys[at : at + TYPE_BYTES], "little")


def _sources(types: Sequence[tuple[int, str, str]]) -> Sequence[int]:
    """For each type number the number of its source; these numbers live as long as the process."""
    numbers: dict[str, int] = {}
    table = [0] * (1 + max((number for number, _, _ in types), default=0))
    for number, _, source in types:
        table[number] = numbers.setdefault(source, len(numbers))
    return table
