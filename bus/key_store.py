"""Every SQL statement about the ids that are remembered to refuse repeats: a row a record, kept longer than the record itself."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from uuid import UUID

from bus import file_store, native
from bus.batches import TYPE_BYTES, Batch, CorruptBatch
from bus.native import ID_BYTES

_KEYS_HEADER = Struct("<qq")


@dataclass(slots=True)
class Keys:
    """The ids of a record's events, 16 bytes each, then a uint16 type number of each; where it begins, when it was stored."""

    position: int
    time_us: int
    keys: bytes

    @property
    def count(self) -> int:
        """How many events."""
        return len(self.keys) // (ID_BYTES + TYPE_BYTES)

    @property
    def ids(self) -> bytes:
        """The ids alone."""
        return self.keys[: ID_BYTES * self.count]

    @property
    def types(self) -> bytes:
        """The type numbers alone."""
        return self.keys[ID_BYTES * self.count :]

    def checksum(self) -> int:
        """CRC-32C over everything that the row holds."""
        return native.crc32c(self.keys, native.crc32c(_KEYS_HEADER.pack(self.position, self.time_us)))


def insert_keys(connection: sqlite3.Connection, records: Iterable[Keys]) -> None:
    """Remembers the ids of records."""
    connection.executemany(
        "INSERT INTO event_keys (position, time_us, keys, checksum) VALUES (?, ?, ?, ?)",
        ((keys.position, keys.time_us, keys.keys, keys.checksum()) for keys in records),
    )


def keys_in(batch: Batch) -> Keys:
    """The ids of a batch of which nothing is gone."""
    return Keys(batch.position, batch.time_us, b"".join(UUID(event.id).bytes for event in batch.decode()) + batch.types)


def ids_before(connection: sqlite3.Connection, time_us: int) -> int:
    """The position up to which ids were remembered before a time; of the log's events themselves there may be fewer."""
    # what is not in the table yet is newer. One statement, for another would see what was noted in between: ids of just now
    row = connection.execute(
        "SELECT coalesce((SELECT position FROM event_keys WHERE time_us >= ? ORDER BY position LIMIT 1) - 1,"
        " (SELECT value FROM meta WHERE name = 'noted'), 0)",
        (time_us,),
    ).fetchone()
    return int(row[0])


def keys_after(connection: sqlite3.Connection, floor: int) -> Iterator[Keys]:
    """The remembered ids of events beyond a position, a record at a time; CorruptBatch for a damaged one."""
    for *columns, checksum in connection.execute(
        "SELECT position, time_us, keys, checksum FROM event_keys WHERE position >= "
        "coalesce((SELECT max(position) FROM event_keys WHERE position <= ?), 0) ORDER BY position",
        (floor + 1,),
    ):
        keys = Keys(*columns)
        if keys.checksum() != checksum:
            raise CorruptBatch(keys.position)
        yield keys


def damaged_keys(connection: sqlite3.Connection) -> list[int]:
    """Where remembered ids are not what was written."""
    return [
        columns[0]
        for *columns, checksum in connection.execute("SELECT position, time_us, keys, checksum FROM event_keys")
        if not all(map(isinstance, columns, (int, int, bytes))) or Keys(*columns).checksum() != checksum
    ]


def keys_at(connection: sqlite3.Connection, position: int) -> Keys | None:
    """The remembered ids of the record that holds a position; None when they are forgotten."""
    row = connection.execute(
        "SELECT position, time_us, keys FROM event_keys WHERE position <= ? ORDER BY position DESC LIMIT 1", (position,)
    ).fetchone()
    keys = Keys(*row) if row else None
    return keys if keys and position < keys.position + keys.count else None


def forgotten_ids(connection: sqlite3.Connection) -> int:
    """Up to which position ids are forgotten for their age."""
    return file_store.value_of(connection, "ids_forgotten")


def forget_ids(connection: sqlite3.Connection, up_to: int) -> int:
    """Forgets the ids of events at or below a position; returns the records deleted."""
    file_store.set_value(connection, "ids_forgotten", up_to)
    return connection.execute(
        "DELETE FROM event_keys WHERE position < (SELECT max(position) FROM event_keys WHERE position <= ?)", (up_to + 1,)
    ).rowcount
