"""What the writer notes beside the records: each event's id, for repeats, and the newest position of each subject, for versions.

Both are in memory at once and in their tables a while later, many together: a row for each at each commit would cost as much as the
record itself. What is not in the tables yet is found again at the start from the records beyond `noted`, so nothing depends on the
tables being up to date; but what is deleted from the log has to be noted first.
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bus import batch_store, key_store, note_store
from bus.batches import Batch
from bus.key_store import Keys

# whichever comes first; together they bound what a start has to read again, and how long writing them holds up a commit: a row
# takes 3 to 5 us, so that more at a time would be what the slowest thousandth of all publishes waits for
_SUBJECTS = 500
_RECORDS = 100
_EVENTS = 100_000


@dataclass
class _Gathered:
    """Notes that are not in the tables."""

    subjects: dict[bytes, int] = field(default_factory=dict)
    keys: list[Keys] = field(default_factory=list)

    def take(self, other: "_Gathered") -> None:
        """Takes over what came after."""
        self.subjects.update(other.subjects)
        self.keys += other.keys

    def clear(self) -> None:
        """Forgets all of it."""
        self.subjects.clear()
        self.keys.clear()


class Notes:
    """The writer's notes. What is noted belongs to a transaction that ends with committed() or undo()."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._now = _Gathered()
        self._unwritten = _Gathered()
        self._writing = False
        self._written_up_to = note_store.noted(connection)
        for batch in batch_store.batches_after(connection, self._written_up_to):
            self._unwritten.take(_Gathered(_subjects_in(batch), [key_store.keys_in(batch)]))

    def due(self, head: int) -> bool:
        """Whether enough has gathered to write it down with the next commit."""
        unwritten = self._unwritten
        return len(unwritten.subjects) >= _SUBJECTS or len(unwritten.keys) >= _RECORDS or head - self._written_up_to >= _EVENTS

    def keys(self, floor: int) -> Iterator[Keys]:
        """The ids of events beyond a position, oldest first; CorruptBatch for damaged ones."""
        yield from key_store.keys_after(self._connection, floor)
        yield from self._unwritten.keys

    def keys_at(self, position: int) -> Keys | None:
        """The ids of the record that holds a position; None when they are forgotten."""
        unwritten = self._unwritten.keys
        index = bisect_right(unwritten, position, key=_position) - 1
        if index < 0:
            return key_store.keys_at(self._connection, position)
        keys = unwritten[index]
        return keys if position < keys.position + keys.count else None

    def newest(self, subject: str) -> int:
        """Position of a subject's newest event; 0 when it has none."""
        key = subject.encode()
        return (
            self._now.subjects.get(key)
            or self._unwritten.subjects.get(key)
            or note_store.newest_of_subject(self._connection, subject)
        )

    def move(self, subjects: Sequence[bytes], first: int) -> None:
        """Events of these subjects stand from `first` on."""
        if len(subjects) == 1:
            self._now.subjects[subjects[0]] = first
        else:
            self._now.subjects.update(zip(subjects, range(first, first + len(subjects)), strict=True))

    def remember(self, keys: Keys) -> None:
        """A record with these ids is stored."""
        self._now.keys.append(keys)

    def write(self, head: int) -> None:
        """Writes down all there is, what the transaction at hand holds too, inside that transaction; once in each."""
        known = _Gathered({**self._unwritten.subjects, **self._now.subjects}, self._unwritten.keys + self._now.keys)
        note_store.move_subjects(self._connection, _texts(known.subjects))
        key_store.insert_keys(self._connection, known.keys)
        note_store.set_noted(self._connection, head)
        self._writing = True

    def committed(self, head: int) -> None:
        """The transaction is on the disk."""
        if self._writing:
            self._unwritten, self._writing = _Gathered(), False
            self._written_up_to = head
        else:
            self._unwritten.take(self._now)
        self._now.clear()

    def undo(self) -> None:
        """The transaction was rolled back."""
        self._now.clear()
        self._writing = False

    def forget(self, subject: str) -> None:
        """Lets go of a subject of which no event stands, inside a transaction in which everything is written down."""
        if not batch_store.stands(self._connection, note_store.newest_of_subject(self._connection, subject)):
            note_store.delete_subject(self._connection, subject)


def _position(keys: Keys) -> int:
    return keys.position


def _texts(subjects: Mapping[bytes, int]) -> Iterator[tuple[str, int]]:
    return ((key.decode(), position) for key, position in subjects.items())


def _subjects_in(batch: Batch) -> dict[bytes, int]:
    """The newest position of each subject in a batch."""
    return {event.subject.encode(): position for position, event in batch.after(0)}
