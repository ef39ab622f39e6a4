"""Every SQL statement about what only logs of schema 1 have; upgrade.py makes schema 2 of it."""

import sqlite3
from collections.abc import Iterable, Iterator

from bus import native
from bus.native import ID_BYTES


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


def add_checksums(connection: sqlite3.Connection) -> None:
    """Gives copies of events that were made before there were checksums theirs."""
    for table in ("dead_letters", "retries"):
        rows = connection.execute(f"SELECT rowid, event FROM {table} WHERE event IS NOT NULL").fetchall()  # noqa: S608 - our names
        connection.executemany(
            f"UPDATE {table} SET checksum = ? WHERE rowid = ?",  # noqa: S608 - our names
            [(native.crc32c(event), rowid) for rowid, event in rows],
        )
