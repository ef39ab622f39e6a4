"""Compares what a transaction remembers with what it would read now: a value that is out of date fails at its first use."""

import sqlite3
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import TypeVar

from mesh.transaction import Transaction

T = TypeVar("T")
_remembered = Transaction.remembered


async def compared(self: Transaction, table: str, key: Hashable, load: Callable[[], Awaitable[T]]) -> T:
    """What Transaction.remembered gives; AssertionError when the database says otherwise."""
    value = await _remembered(self, table, key, load)
    now = await load()
    assert _plain(value) == _plain(now), f"{table} {key!r}: {value!r} is remembered, {now!r} is true"
    return value


def _plain(value: object) -> object:
    """Rows of SQLite's as dictionaries, which is what a statement may have left in their place."""
    if isinstance(value, sqlite3.Row):
        return dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return value
