"""The newest position of each subject, for expected versions: in memory at once, in its table a while later.

A row for each subject at each commit would dirty as many pages as there are subjects. What is not in the table yet is found again
at the start from the records behind `subjects_written`, so nothing depends on the table being up to date.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from bus import store

# whichever comes first; both bound what a start has to read again
_WRITE_SUBJECTS = 2_000
_WRITE_EVENTS = 100_000


class Subjects:
    """What the writer knows of subjects. Each move() belongs to a transaction that ends with committed() or undo()."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._moving: dict[bytes, int] = {}
        self._written_now = False
        self._written_up_to = store.subjects_written(connection)
        self._unwritten = store.subjects_after(connection, self._written_up_to)

    def newest(self, subject: str) -> int:
        """Position of a subject's newest event; 0 when it has none."""
        key = subject.encode()
        return self._moving.get(key) or self._unwritten.get(key) or store.newest_of_subject(self._connection, subject)

    def move(self, subjects: Sequence[bytes], first: int) -> None:
        """Events of these subjects stand from `first` on."""
        self._moving.update(zip(subjects, range(first, first + len(subjects)), strict=True))

    def write_when_due(self, head: int) -> None:
        """Brings the table up to date, inside the transaction at hand, when enough has gathered."""
        if len(self._unwritten) >= _WRITE_SUBJECTS or head - self._written_up_to >= _WRITE_EVENTS:
            self._write(self._unwritten, head)

    def write(self, head: int) -> None:
        """Brings the table up to date in a transaction of its own."""
        if self._unwritten:
            self._connection.execute("BEGIN IMMEDIATE")
            self._write(self._unwritten, head)
            self._connection.execute("COMMIT")
            self.committed()

    def write_now(self, head: int) -> None:
        """Brings the table up to date with all that the transaction at hand holds."""
        if known := {**self._unwritten, **self._moving}:
            self._write(known, head)

    def committed(self) -> None:
        """The transaction is on the disk."""
        if self._written_now:
            self._unwritten, self._written_now = {}, False
            self._written_up_to = store.subjects_written(self._connection)
        self._unwritten.update(self._moving)
        self._moving.clear()

    def undo(self) -> None:
        """The transaction was rolled back."""
        self._moving.clear()
        self._written_now = False

    def forget(self, subject: str) -> None:
        """Lets go of a subject, inside the transaction at hand."""
        self._unwritten.pop(subject.encode(), None)
        store.delete_subject(self._connection, subject)

    def _write(self, known: Mapping[bytes, int], head: int) -> None:
        store.move_subjects(self._connection, ((key.decode(), position) for key, position in known.items()))
        store.set_subjects_written(self._connection, head)
        self._written_now = True
