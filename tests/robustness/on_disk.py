"""What a log's file says without a server: the one place of these tests that knows how the bus stores things."""

import sqlite3
from contextlib import closing
from pathlib import Path

from bus import batch_store, file_store
from tests.robustness.record import Stored


def log_on_disk(file: Path) -> list[Stored]:
    """Every event of a log, in order of position."""
    with closing(file_store.connect(file, readonly=True)) as connection:
        return [
            Stored(batch.position + offset, event.id, event.subject, event.type)
            for batch, _ in batch_store.every_batch(connection)
            for offset, event in enumerate(batch.decode())
        ]


def dead_on_disk(file: Path) -> list[tuple[int, bytes]]:
    """The dead letters of all subscriptions: position and the event's bytes."""
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT position, event FROM dead_letters ORDER BY subscription, position").fetchall()


def floor_on_disk(file: Path, subscription: str) -> int:
    """Up to where a subscription is settled; -1 when it is not there."""
    with closing(sqlite3.connect(file)) as connection:
        row = connection.execute("SELECT ack_floor FROM subscriptions WHERE name = ?", (subscription,)).fetchone()
    return int(row[0]) if row else -1


def move_into_database(file: Path) -> None:
    """Empties the write-ahead log of a file that nobody has open."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def is_sound(file: Path) -> bool:
    """Whether SQLite can open the file and finds nothing wrong with it; a file that is not there can be made."""
    try:
        with closing(sqlite3.connect(file)) as connection:
            return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
    except sqlite3.DatabaseError:
        return False


def put(folder: Path, files: dict[str, bytes]) -> None:
    """Makes a folder hold exactly these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
