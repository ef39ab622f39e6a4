"""Every SQL statement of the log: plain sqlite3, called from the writer's or a reader's own thread."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bus.batches import Batch, CorruptBatch

SCHEMA = Path(__file__).parent / "schema"


def connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """Opens the file: WAL, every commit flushed to the disk, checkpoints left to the checkpointer.

    The connection may be handed from one thread to another, but only one may use it at a time.
    """
    mode = "ro" if readonly else "rwc"
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False)
    if not readonly:
        # a page size can be chosen only before the first page is written
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Applies the numbered files of schema/ that the database has not seen yet, each in a transaction."""
    done = connection.execute("PRAGMA user_version").fetchone()[0]
    for path in sorted(SCHEMA.glob("*.sql")):
        number = int(path.name.split("_")[0])
        if number > done:
            connection.executescript(f"BEGIN IMMEDIATE;\n{path.read_text()}\nPRAGMA user_version = {number};\nCOMMIT;")


def is_disk_full(error: sqlite3.Error) -> bool:
    """Whether SQLite found no room on the disk."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


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


def event_types(connection: sqlite3.Connection) -> dict[str, int]:
    """The ids of the event types that the log has seen."""
    return dict(connection.execute("SELECT type, id FROM event_types").fetchall())


def insert_event_type(connection: sqlite3.Connection, name: str, number: int) -> None:
    """Gives a new event type its id."""
    connection.execute("INSERT INTO event_types (id, type) VALUES (?, ?)", (number, name))


def insert_batch(connection: sqlite3.Connection, batch: Batch) -> None:
    """Stores a batch with its checksum."""
    connection.execute(
        "INSERT INTO batches (position, last, time_us, types, checksum, events) VALUES (?, ?, ?, ?, ?, ?)",
        (batch.position, batch.last, batch.time_us, batch.types, batch.checksum(), batch.events),
    )


def insert_ids(connection: sqlite3.Connection, first: int, keys: Sequence[bytes]) -> bool:
    """Remembers the ids of events that stand from `first` on; False, and nothing remembered, when one of them is there already."""
    cursor = connection.executemany(
        "INSERT INTO event_ids (position, key) VALUES (?, ?) ON CONFLICT DO NOTHING", enumerate(keys, first)
    )
    if cursor.rowcount == len(keys):
        return True
    connection.execute("DELETE FROM event_ids WHERE position >= ?", (first,))
    return False


def position_of_id(connection: sqlite3.Connection, key: bytes) -> int | None:
    """Where the event of this id stands; None when it is not remembered."""
    row = connection.execute("SELECT position FROM event_ids WHERE key = ?", (key,)).fetchone()
    return int(row[0]) if row else None


def forget_ids(connection: sqlite3.Connection, up_to: int) -> int:
    """Forgets the ids of events at or below a position."""
    return connection.execute("DELETE FROM event_ids WHERE position <= ?", (up_to,)).rowcount


def newest_of_subject(connection: sqlite3.Connection, subject: str) -> int:
    """Position of a subject's newest event; 0 when it has none."""
    row = connection.execute("SELECT position FROM subjects WHERE subject = ?", (subject,)).fetchone()
    return int(row[0]) if row else 0


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
        "SELECT position, last, time_us, types, checksum, events FROM batches WHERE position >= "
        "coalesce((SELECT position FROM batches WHERE position <= :next ORDER BY position DESC LIMIT 1), 0) "
        "AND last >= :next ORDER BY position",
        {"next": after + 1},
    ):
        found.append(_checked(row))
        size += len(row[5])
        if size >= max_bytes:
            break
    return found


def read_headers(connection: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, int, bytes]]:
    """(position, last, types) of batches with events beyond a position, without touching their payload."""
    return connection.execute(
        "SELECT position, last, types FROM batches WHERE position >= "
        "coalesce((SELECT position FROM batches WHERE position <= :next ORDER BY position DESC LIMIT 1), 0) "
        "AND last >= :next ORDER BY position LIMIT :limit",
        {"next": after + 1, "limit": limit},
    ).fetchall()


def read_batch(connection: sqlite3.Connection, position: int) -> Batch | None:
    """The batch that holds a position; None when it is not kept."""
    row = connection.execute(
        "SELECT position, last, time_us, types, checksum, events FROM batches WHERE position <= ? ORDER BY position DESC LIMIT 1",
        (position,),
    ).fetchone()
    return _checked(row) if row and row[1] >= position else None


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


def checkpoint(connection: sqlite3.Connection, *, truncate: bool) -> None:
    """Moves the write-ahead log into the database, without waiting for readers unless it has to be cut back."""
    connection.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if truncate else 'PASSIVE'})").fetchall()


def _checked(row: tuple[int, int, int, bytes, int, bytes]) -> Batch:
    batch = Batch(row[0], row[1], row[2], row[3], row[5])
    if batch.checksum() != row[4]:
        raise CorruptBatch(batch.position)
    return batch
