"""Every SQL statement of the log: plain sqlite3, called from the writer's or a reader's own thread."""

import sqlite3
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct

from bus import native
from bus.batches import GONE, Batch, CorruptBatch
from bus.native import ID_BYTES

SCHEMA = Path(__file__).parent / "schema"
# what is read at a time where the log is read from one end to the other
_PART_BYTES = 4 * 1024 * 1024
_KEYS_HEADER = Struct("<qq")
# a batch's columns, without its events when there are many: a value of a row is copied twice, once of it while nobody else may run
_ROW = f"position, last, time_us, types, checksum, CASE WHEN length(events) < {64 * 1024} THEN events END"


def connect(path: Path, *, readonly: bool = False, mmap_bytes: int = 0) -> sqlite3.Connection:
    """Opens the file: WAL, every commit flushed to the disk, checkpoints left to the checkpointer.

    The connection may be handed from one thread to another, but only one may use it at a time.
    """
    mode = "ro" if readonly else "rwc"
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False)
    if not readonly:
        # a page size can be chosen only before the first page is written
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")
        # what is deleted is overwritten where that costs no further write
        connection.execute("PRAGMA secure_delete = FAST").fetchall()
    connection.execute(f"PRAGMA mmap_size = {mmap_bytes}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


def migrate(connection: sqlite3.Connection, upgrades: Mapping[int, Callable[[sqlite3.Connection], None]]) -> None:
    """Applies the numbered files of schema/ that the database has not seen yet, each with its upgrade in one transaction."""
    done = connection.execute("PRAGMA user_version").fetchone()[0]
    for path in sorted(SCHEMA.glob("*.sql")):
        number = int(path.name.split("_")[0])
        if number > done:
            connection.executescript(f"BEGIN IMMEDIATE;\n{path.read_text()}")
            upgrades.get(number, _nothing)(connection)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")


def _nothing(connection: sqlite3.Connection) -> None:
    """The upgrade of a migration that SQL alone does."""


def is_disk_full(error: Exception) -> bool:
    """Whether SQLite found no room on the disk, for its files or for the index of the write-ahead log."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE


def is_sync_failure(error: Exception) -> bool:
    """Whether an fsync failed: what it should have brought to the disk may be there, or not, and no later one will tell."""
    return getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)


def value_of(connection: sqlite3.Connection, name: str) -> int:
    """A single value; 0 when it was never set."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def set_value(connection: sqlite3.Connection, name: str, value: int) -> None:
    """Sets a single value."""
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
    )


def head(connection: sqlite3.Connection) -> tuple[int, int]:
    """Position and storing time of the newest event; what retention has deleted counts too. (0, 0) when there was never one."""
    row = connection.execute("SELECT last, time_us FROM batches ORDER BY position DESC LIMIT 1").fetchone()
    return (int(row[0]), int(row[1])) if row else (value_of(connection, "head"), value_of(connection, "head_time_us"))


def first_position(connection: sqlite3.Connection) -> int:
    """Oldest position that is kept; 0 when none is."""
    row = connection.execute("SELECT position FROM batches ORDER BY position LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def event_types(connection: sqlite3.Connection) -> list[tuple[int, str, str]]:
    """The types that the log has numbers for: (number, type, source), ascending."""
    return connection.execute("SELECT id, type, source FROM sourced_types ORDER BY id").fetchall()


def add_event_types(connection: sqlite3.Connection, types: Iterable[tuple[str, str]]) -> None:
    """Gives (type, source) pairs numbers, those that have none yet; in a transaction of its own when there is anything to do."""
    known = {(name, source) for _, name, source in event_types(connection)}
    if missing := [pair for pair in types if pair not in known]:
        connection.execute("BEGIN IMMEDIATE")
        number_new_types(connection, missing)
        connection.execute("COMMIT")


def number_new_types(connection: sqlite3.Connection, types: Iterable[tuple[str, str]]) -> None:
    """Gives (type, source) pairs numbers, inside the transaction at hand; nothing for one that has its own."""
    connection.executemany("INSERT INTO sourced_types (type, source) VALUES (?, ?) ON CONFLICT DO NOTHING", types)


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


def noted(connection: sqlite3.Connection) -> int:
    """Up to which position ids and subjects are in their tables."""
    return value_of(connection, "noted")


def set_noted(connection: sqlite3.Connection, up_to: int) -> None:
    """Notes up to which position ids and subjects are in their tables."""
    set_value(connection, "noted", up_to)


def batches_after(connection: sqlite3.Connection, position: int) -> Iterator[Batch]:
    """Every batch beyond a position, a few at a time in memory."""
    while batches := read_batches(connection, position, _PART_BYTES):
        yield from batches
        position = batches[-1].last


def subjects_in(batch: Batch) -> dict[bytes, int]:
    """The newest position of each subject in a batch."""
    return {event.subject.encode(): position for position, event in batch.after(0)}


def delete_subject(connection: sqlite3.Connection, subject: str) -> None:
    """Forgets a subject's newest position."""
    connection.execute("DELETE FROM subjects WHERE subject = ?", (subject,))


def newest_of_subject(connection: sqlite3.Connection, subject: str) -> int:
    """Position of a subject's newest event; 0 when it has none."""
    row = connection.execute("SELECT position FROM subjects WHERE subject = ?", (subject,)).fetchone()
    return int(row[0]) if row else 0


def stands(connection: sqlite3.Connection, position: int) -> bool:
    """Whether an event at a position is kept and not gone."""
    headers = read_headers(connection, position - 1, 1) if position else []
    return any(memoryview(types).cast("H")[position - first] != GONE for first, _, types, _ in headers if first <= position)


def move_subjects(connection: sqlite3.Connection, positions: Iterable[tuple[str, int]]) -> None:
    """Notes the newest position of subjects."""
    connection.executemany(
        "INSERT INTO subjects (subject, position) VALUES (?, ?) ON CONFLICT (subject) DO UPDATE SET position = excluded.position",
        positions,
    )


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


def checksum_before_crc32c(batch: Batch) -> int:
    """The checksum that records had in schema 1: CRC-32 over the same bytes."""
    header = b"".join(number.to_bytes(8, "little", signed=True) for number in (batch.position, batch.last, batch.time_us))
    return zlib.crc32(batch.events, zlib.crc32(batch.types, zlib.crc32(header)))


def types_before_sources(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    """The numbers of types in schema 1."""
    return connection.execute("SELECT id, type FROM event_types ORDER BY id").fetchall()


def number_types(connection: sqlite3.Connection, types: Iterable[tuple[int, str, str]]) -> None:
    """Takes over (number, type, source) rows."""
    connection.executemany("INSERT INTO sourced_types (id, type, source) VALUES (?, ?, ?)", types)


def ids_before_records(connection: sqlite3.Connection, before: int) -> Iterator[tuple[int, bytes, str]]:
    """The remembered ids of schema 1 whose events are no longer kept: (position, id, source)."""
    for position, key in connection.execute("SELECT position, key FROM event_ids WHERE position < ? ORDER BY position", (before,)):
        yield position, key[:ID_BYTES], key[ID_BYTES:].decode()


def drop_before_records(connection: sqlite3.Connection) -> None:
    """Drops what schema 1 had and schema 2 has in other tables."""
    connection.execute("DROP TABLE event_types")
    connection.execute("DROP TABLE event_ids")


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


def read_batch(connection: sqlite3.Connection, position: int) -> Batch | None:
    """The batch that holds a position; None when it is not kept. CorruptBatch."""
    row = connection.execute(
        f"SELECT {_ROW} FROM batches WHERE position <= ? ORDER BY position DESC LIMIT 1",  # noqa: S608 - a constant
        (position,),
    ).fetchone()
    return _batch_of(connection, row) if row and row[1] >= position else None


def every_batch(connection: sqlite3.Connection) -> Iterator[tuple[Batch, int]]:
    """Every batch with the checksum that stands beside it, unchecked; for verify."""
    for row in connection.execute("SELECT position, last, time_us, types, checksum, events FROM batches ORDER BY position"):
        yield Batch(row[0], row[1], row[2], row[3], row[5]), row[4]


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


def delete_batches(connection: sqlite3.Connection, up_to: int) -> int:
    """Deletes the batches up to the end of one; keeps the head for the time when none is left. Returns the events deleted."""
    newest, time_us = head(connection)
    set_value(connection, "head", newest)
    set_value(connection, "head_time_us", time_us)
    first = first_position(connection)
    connection.execute("DELETE FROM batches WHERE position <= ?", (up_to,))
    return up_to - first + 1 if 0 < first <= up_to else 0


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


@contextmanager
def overwriting_deleted(connection: sqlite3.Connection, *, on: bool) -> Iterator[None]:
    """Whether what is deleted is overwritten with zeros in the file; without it, only where that costs no further write."""
    connection.execute(f"PRAGMA secure_delete = {'ON' if on else 'FAST'}").fetchall()
    try:
        yield
    finally:
        connection.execute("PRAGMA secure_delete = FAST").fetchall()


def overwrite_free_pages(connection: sqlite3.Connection, most: int) -> bool:
    """Fills free pages with zeros, about so many; False when none is left. In the end comes forget_overwritten()."""
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if not free:
        return False
    connection.execute("CREATE TABLE IF NOT EXISTS overwritten (zeros BLOB NOT NULL)")
    zeros = _fills_pages(min(most, free), connection.execute("PRAGMA page_size").fetchone()[0])
    connection.execute("INSERT INTO overwritten (zeros) VALUES (zeroblob(?))", (zeros,))
    return True


def _fills_pages(pages: int, page_size: int) -> int:
    """The length of a blob that fills so many overflow pages to the last byte (sqlite.org/fileformat2.html, 1.6 and 2.1)."""
    payload = (page_size - 12) * 32 // 255 - 23 + pages * (page_size - 4)
    # the record's header: its own length, and the blob's in seven bits a byte
    return payload - 1 - -(-(2 * payload + 12).bit_length() // 7)


def forget_overwritten(connection: sqlite3.Connection) -> None:
    """Frees the pages again that are filled with zeros now."""
    connection.execute("DROP TABLE IF EXISTS overwritten")


def checkpoint(connection: sqlite3.Connection) -> int:
    """Moves the write-ahead log into the database; how many pages it held when that began."""
    _, used, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(used)


def begin_anew(connection: sqlite3.Connection) -> bool:
    """The same; whether nothing is left in it, so that the next write begins at its start and needs no room."""
    busy, used, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return bool(not busy and used == moved)


def truncate(connection: sqlite3.Connection) -> bool:
    """Moves the write-ahead log into the database and cuts it back; False when somebody was in the way."""
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def wait_for_locks(connection: sqlite3.Connection, milliseconds: int) -> None:
    """How long a connection waits for others; 0: not at all."""
    connection.execute(f"PRAGMA busy_timeout = {milliseconds}")


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
