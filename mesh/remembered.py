"""What a connection that writes remembers of its reads, so that what changes rarely is not read again by every transaction.

A value is remembered by table and key, and holds until somebody writes to the table: this connection (each statement says which
table it writes), or any other one, of which SQLite's data_version tells. That is asked when the write lock is held, so nothing can
change between the question and the commit. What a trigger or a cascade writes is not seen: no table that has one may be remembered.
"""

import re
import sqlite3
from collections import defaultdict
from collections.abc import Hashable
from functools import cache
from typing import Any

_WRITES = re.compile(r"\s*(?:INSERT(?: OR \w+)? INTO|REPLACE INTO|UPDATE(?: OR \w+)?|DELETE FROM)\s+(\w+)", re.IGNORECASE)
_READS = re.compile(r"\s*SELECT\b", re.IGNORECASE)
# values of one table: more are forgotten together, so that no number of users can fill the memory
_MOST = 4096
# stands for every table: a statement that does not say what it writes
EVERYTHING = "*"
Key = Hashable
# in the place of a value that has changed: it is read again when it is needed
UNKNOWN: Any = object()


class Remembered:
    """The values of one connection."""

    def __init__(self) -> None:
        self._version = -1
        # what is remembered of each table, by key
        self.tables: defaultdict[str, dict[Key, Any]] = defaultdict(dict)

    def begin(self, connection: sqlite3.Connection) -> None:
        """Forgets everything when another connection has written; to be called when the write lock is held."""
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self.tables.clear()

    def keep(self, table: str, key: Key, value: Any) -> None:
        """Remembers a value; UNKNOWN instead of one that is to be read again."""
        values = self.tables[table]
        if value is UNKNOWN:
            values.pop(key, None)
            return
        if len(values) >= _MOST:
            values.clear()
        values[key] = value

    def forget(self, table: str) -> None:
        """Forgets what is remembered of a table; it was written."""
        if table == EVERYTHING:
            self.clear()
        else:
            self.tables.pop(table, None)


@cache
def written_by(sql: str) -> str:
    """The table that a statement writes; "" for a SELECT, "*" for what does not say."""
    if found := _WRITES.match(sql):
        return found[1].lower()
    return "" if _READS.match(sql) else EVERYTHING
