"""Every SQL statement about the numbers by which the log knows event types."""

import sqlite3
from collections.abc import Iterable


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
