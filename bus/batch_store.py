"""Every SQL statement about the log's records: batches of events, a row each; called from the writer's or a reader's own thread."""

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import suppress

from bus import file_store, native
from bus.batches import GONE, Batch, CorruptBatch

# what is read at a time where the log is read from one end to the other
_PART_BYTES = 4 * 1024 * 1024
# a batch's columns, without its events when there are many: a value of a row is copied twice, once of it while nobody else may run
_ROW = f"position, last, time_us, types, checksum, CASE WHEN length(events) < {64 * 1024} THEN events END"


def head(connection: sqlite3.Connection) -> tuple[int, int]:
    """Position and storing time of the newest event; what retention has deleted counts too. (0, 0) when there was never one."""
    row = connection.execute("SELECT last, time_us FROM batches ORDER BY position DESC LIMIT 1").fetchone()
    if row:
        return int(row[0]), int(row[1])
    return file_store.value_of(connection, "head"), file_store.value_of(connection, "head_time_us")


def first_position(connection: sqlite3.Connection) -> int:
    """Oldest position that is kept; 0 when none is."""
    row = connection.execute("SELECT position FROM batches ORDER BY position LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def insert_batch(connection: sqlite3.Connection, batch: Batch) -> None:
    """Stores a batch with its checksum."""
    connection.execute(
        "INSERT INTO batches (position, last, time_us, types, checksum, events) VALUES (?, ?, ?, ?, ?, ?)",
        (batch.position, batch.last, batch.time_us, batch.types, batch.checksum(), batch.events),
    )


def replace_batch(connection: sqlite3.Connection, batch: Batch) -> None:
    """Stores a batch in the place of the one that stands there, with other bytes: some of its events are gone."""
    connection.execute(
        "UPDATE batches SET types = ?, checksum = ?, events = ? WHERE position = ?",
        (batch.types, batch.checksum(), batch.events, batch.position),
    )


def delete_batches(connection: sqlite3.Connection, up_to: int) -> int:
    """Deletes the batches up to the end of one; keeps the head for the time when none is left. Returns the events deleted."""
    newest, time_us = head(connection)
    file_store.set_value(connection, "head", newest)
    file_store.set_value(connection, "head_time_us", time_us)
    first = first_position(connection)
    connection.execute("DELETE FROM batches WHERE position <= ?", (up_to,))
    return up_to - first + 1 if 0 < first <= up_to else 0


def read_batch(connection: sqlite3.Connection, position: int) -> Batch | None:
    """The batch that holds a position; None when it is not kept. CorruptBatch."""
    row = connection.execute(
        f"SELECT {_ROW} FROM batches WHERE position <= ? ORDER BY position DESC LIMIT 1",  # noqa: S608 - a constant
        (position,),
    ).fetchone()
    return _batch_of(connection, row) if row and row[1] >= position else None


def read_batches(connection: sqlite3.Connection, after: int, max_bytes: int) -> list[Batch]:
    """Batches with events beyond a position, oldest first, until `max_bytes` are full (at least one); CorruptBatch for a bad."""
    found: list[Batch] = []
    size = 0
    for row in connection.execute(
        f"SELECT {_ROW} FROM batches WHERE position >= "  # noqa: S608 - a constant
        "coalesce((SELECT position FROM batches WHERE position <= :next ORDER BY position DESC LIMIT 1), 0) "
        "AND last >= :next ORDER BY position",
        {"next": after + 1},
    ):
        if batch := _batch_of(connection, row):
            found.append(batch)
            size += len(batch.events)
        if size >= max_bytes:
            break
    return found


def batches_after(connection: sqlite3.Connection, position: int) -> Iterator[Batch]:
    """Every batch beyond a position, a few at a time in memory."""
    while batches := read_batches(connection, position, _PART_BYTES):
        yield from batches
        position = batches[-1].last


def every_batch(connection: sqlite3.Connection) -> Iterator[tuple[Batch, int]]:
    """Every batch with the checksum that stands beside it, unchecked; for verify."""
    for row in connection.execute("SELECT position, last, time_us, types, checksum, events FROM batches ORDER BY position"):
        yield Batch(row[0], row[1], row[2], row[3], row[5]), row[4]


def _batch_of(connection: sqlite3.Connection, row: tuple[int, int, int, bytes, int, bytes | None]) -> Batch | None:
    """The batch of a row, with its events when they were too large for it; None when it was deleted meanwhile. CorruptBatch."""
    position, last, time_us, types, checksum, events = row
    if events is not None:
        return _checked((position, last, time_us, types, checksum, events))
    with suppress(sqlite3.OperationalError), connection.blobopen("batches", "events", position, readonly=True) as blob:
        batch = Batch(position, last, time_us, types, blob.read())
        if batch.checksum() == checksum:
            return batch
    # damaged, or something was taken out of it since the row was read
    now = connection.execute("SELECT position, last, time_us, types, checksum, events FROM batches WHERE position = ?", (position,))
    found = now.fetchone()
    return _checked(found) if found else None


def _checked(row: tuple[int, int, int, bytes, int, bytes]) -> Batch:
    batch = Batch(row[0], row[1], row[2], row[3], row[5])
    if batch.checksum() != row[4]:
        raise CorruptBatch(batch.position)
    return batch


def read_headers(connection: sqlite3.Connection, after: int, limit: int) -> Generator[tuple[int, int, bytes, int], None, None]:
    """(position, last, types, length) of batches with events beyond a position, without touching their payload.

    One by one, for most readers have enough after a few.
    """
    yield from connection.execute(
        "SELECT position, last, types, length(events) FROM batches WHERE position >= "
        "coalesce((SELECT position FROM batches WHERE position <= :next ORDER BY position DESC LIMIT 1), 0) "
        "AND last >= :next ORDER BY position LIMIT :limit",
        {"next": after + 1, "limit": limit},
    )


def headers_backwards(connection: sqlite3.Connection) -> Iterator[tuple[int, int, bytes]]:
    """(position, last, types) of every batch, newest first, without touching their payload."""
    yield from connection.execute("SELECT position, last, types FROM batches ORDER BY position DESC")


def stands(connection: sqlite3.Connection, position: int) -> bool:
    """Whether an event at a position is kept and not gone."""
    headers = read_headers(connection, position - 1, 1) if position else []
    return any(memoryview(types).cast("H")[position - first] != GONE for first, _, types, _ in headers if first <= position)


def time_of(connection: sqlite3.Connection, position: int) -> int | None:
    """When the event at a position was stored, in microseconds; None when it is not kept."""
    row = connection.execute(
        "SELECT last, time_us FROM batches WHERE position <= ? ORDER BY position DESC LIMIT 1", (position,)
    ).fetchone()
    return int(row[1]) if row and row[0] >= position else None


def position_before(connection: sqlite3.Connection, time_us: int) -> int:
    """The position after which everything was stored at or after a time (times never fall along the log: a binary search)."""
    low, high = first_position(connection), head(connection)[0]
    if not low:
        return high
    while low <= high:
        middle = (low + high) // 2
        position, last, stored = connection.execute(
            "SELECT position, last, time_us FROM batches WHERE position <= ? ORDER BY position DESC LIMIT 1", (middle,)
        ).fetchone()
        if stored >= time_us:
            high = position - 1
        else:
            low = last + 1
    return low - 1


def batch_end(connection: sqlite3.Connection, up_to: int) -> int:
    """The last position of the newest batch that ends at or below a position; 0 when none does."""
    row = connection.execute(
        "SELECT last FROM batches WHERE position <= ? AND last <= ? ORDER BY position DESC LIMIT 1", (up_to, up_to)
    )
    found = row.fetchone()
    return int(found[0]) if found else 0


def last_beyond_bytes(connection: sqlite3.Connection, keep_bytes: int) -> int:
    """The position up to which batches must go so that the payload of those that stay is at most `keep_bytes`; 0 when none must."""
    size = 0
    for last, length in connection.execute("SELECT last, length(events) FROM batches ORDER BY position DESC"):
        size += length
        if size > keep_bytes:
            return int(last)
    return 0


def gone_up_to(connection: sqlite3.Connection, keep_from: int) -> int:
    """The end of the oldest batches of which nothing is left, all of them before `keep_from` and the newest one; 0 when none is."""
    end = 0
    before = min(keep_from, head(connection)[0])
    for last, types in connection.execute("SELECT last, types FROM batches WHERE last < ? ORDER BY position", (before,)):
        if native.holds_any(types, None):
            break
        end = int(last)
    return end
