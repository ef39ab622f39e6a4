"""The log's file as SQLite keeps it: opened, migrated, copied; its write-ahead log; what is deleted, overwritten; single values.

Plain sqlite3, called from the writer's, the checkpointer's or a reader's own thread.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

SCHEMA = Path(__file__).parent / "schema"


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


def is_locked(error: Exception) -> bool:
    """Whether another process holds the write lock, e.g. a shell that somebody left in the middle of a transaction."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


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


def backup(connection: sqlite3.Connection, target: Path) -> None:
    """Copies the whole database to another file while it is in use (SQLite's online backup)."""
    with closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)
