"""What a store function gets: statements inside one transaction, and what is remembered of earlier reads."""

import sqlite3
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from mesh.remembered import EVERYTHING, UNKNOWN, Remembered, written_by

Row = sqlite3.Row
T = TypeVar("T")
Params = Mapping[str, Any]
# values by key, as a statement leaves them; None: not said
Changed = Mapping[Hashable, Any] | None
_NO_PARAMS: Params = {}


class Transaction:
    """What a store function gets: statements with named parameters (":name") inside one transaction."""

    def __init__(self, connection: sqlite3.Connection, memory: Remembered | None = None) -> None:
        self._connection = connection
        self._memory = memory
        self._written: set[str] = set()
        self.callbacks: list[Callable[[], None]] = []

    async def execute(self, sql: str, params: Params = _NO_PARAMS, *, now: Changed = None) -> int:
        """Runs one statement; gives the number of rows it changed.

        What is remembered of its table is forgotten. Or `now` says what it changed of that: the values by key, as they are now.
        """
        table = self._writes(sql, now)
        changed = self._connection.execute(sql, params).rowcount
        if now:
            self._remember(table, now)
        return changed

    async def execute_many(self, sql: str, rows: Sequence[Params], *, now: Changed = None) -> None:
        """Runs one statement for each of the rows."""
        table = self._writes(sql, now)
        try:
            self._connection.executemany(sql, rows)
        except sqlite3.Error:
            # those before the one that failed are done
            self.undone()
            raise
        if now:
            self._remember(table, now)

    async def fetch_one(self, sql: str, params: Params = _NO_PARAMS, *, now: Changed = None) -> Row | None:
        """The first row, or None."""
        rows = await self.fetch_all(sql, params, now=now)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, params: Params = _NO_PARAMS, *, now: Changed = None) -> list[Row]:
        """Every row; a row gives its columns by name and by place."""
        table = self._writes(sql, now)
        rows = self._connection.execute(sql, params).fetchall()
        if now:
            self._remember(table, now)
        return rows

    async def remembered(self, table: str, key: Hashable, load: Callable[[], Awaitable[T]]) -> T:
        """What `load` reads of one table, read again only after somebody wrote to it. Nobody may change what this gives.

        A transaction that only reads has no memory and loads each time.
        """
        if self._memory is None:
            return await load()
        found: T = self._memory.tables[table].get(key, UNKNOWN)
        if found is UNKNOWN:
            found = await load()
            self._memory.keep(table, key, found)
        return found

    def remember(self, table: str, key: Hashable, value: object) -> None:
        """Says what a statement made of a value: one that gave no other change (`now` empty) and told the value itself."""
        if self._memory is not None:
            self._memory.keep(table, key, value)

    def _writes(self, sql: str, now: Changed) -> str:
        """Before a statement: the table that it writes, which is forgotten unless it says what it changes."""
        if self._memory is None or not (table := written_by(sql)):
            return ""
        self._written.add(table)
        if now is None and (table in self._memory.tables or table == EVERYTHING):
            self._memory.forget(table)
        return table

    def _remember(self, table: str, now: Mapping[Hashable, Any]) -> None:
        """After it: what it says is remembered."""
        if self._memory is not None:
            for key, value in now.items():
                self._memory.keep(table, key, value)

    def undone(self) -> None:
        """Forgets what was remembered of the tables that it wrote: it did not happen."""
        if self._memory is not None:
            for table in self._written:
                self._memory.forget(table)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Calls back when the transaction is on disk; not at all when it is undone."""
        self.callbacks.append(callback)
