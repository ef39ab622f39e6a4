"""Every SQL statement about what is noted beside the records: up to where, and the newest position of each subject."""

import sqlite3
from collections.abc import Iterable

from bus import file_store


def noted(connection: sqlite3.Connection) -> int:
    """Up to which position ids and subjects are in their tables."""
    return file_store.value_of(connection, "noted")


def set_noted(connection: sqlite3.Connection, up_to: int) -> None:
    """Notes up to which position ids and subjects are in their tables."""
    file_store.set_value(connection, "noted", up_to)


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


def delete_subject(connection: sqlite3.Connection, subject: str) -> None:
    """Forgets a subject's newest position."""
    connection.execute("DELETE FROM subjects WHERE subject = ?", (subject,))
