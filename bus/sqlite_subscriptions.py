"""The store of subscriptions beside the SQLite log: the statements of subscription_store.py in the log's own transactions."""

from collections.abc import Callable, Mapping, Sequence

from bus import subscription_store as sql
from bus.deliveries import Changes, Retry
from bus.log import Log
from bus.storage import Some, Stored, StoredDeadLetter


class SqliteSubscriptionStore:
    """Writes share the commits of the log; reads go to its readers' threads."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def next_epoch(self) -> int:
        """Counts the starts of this log."""
        return await self._log.run(sql.next_epoch)

    async def every(self) -> list[Stored]:
        """Every subscription, by name."""
        return await self._log.query(sql.every)

    async def insert(self, stored: Stored) -> None:
        """Makes a subscription."""
        await self._log.run(lambda connection: sql.insert(connection, stored))

    async def update_definition(self, name: str, definition: bytes) -> None:
        """Replaces a definition."""
        await self._log.run(lambda connection: sql.update_definition(connection, name, definition))

    async def set_paused(self, name: str, paused: bool) -> None:
        """Pauses or resumes."""
        await self._log.run(lambda connection: sql.set_paused(connection, name, paused))

    async def delete(self, name: str) -> None:
        """Deletes a subscription with its retries and dead letters."""
        await self._log.run(lambda connection: sql.delete(connection, name))

    async def move(self, name: str, floor: int) -> None:
        """Moves a subscription to after a position."""
        await self._log.run(lambda connection: sql.move(connection, name, floor))

    async def retries(self, name: str, due: Callable[[int, int], float]) -> list[Retry]:
        """Events that wait for another delivery."""
        return await self._log.query(lambda connection: sql.retries(connection, name, due))

    async def kept_event(self, name: str, position: int) -> bytes | None:
        """The event that a redriven dead letter brought along."""
        return await self._log.query(lambda connection: sql.kept_event(connection, name, position))

    async def apply(
        self, name: str, floor: int, ranges: bytes, changes: Changes, us_of: Callable[[float], int], now_us: int
    ) -> None:
        """Writes what a dealer gathered."""
        await self._log.run(lambda connection: sql.apply(connection, name, floor, ranges, changes, us_of, now_us))

    async def dead_letters(self, name: str, after: int, limit: int, max_bytes: int) -> Sequence[StoredDeadLetter]:
        """Dead letters beyond a position, oldest first."""
        return await self._log.query(lambda connection: sql.dead_letters(connection, name, after, limit, max_bytes))

    async def dead_letter_counts(self) -> Mapping[str, int]:
        """How many dead letters each subscription keeps."""
        return await self._log.query(sql.dead_letter_counts)

    async def redrive(self, name: str, some: Some, now_us: int) -> list[Retry]:
        """Turns dead letters into retries with fresh attempts."""
        return await self._log.run(lambda connection: sql.redrive(connection, name, some, now_us))

    async def drop(self, name: str, positions: Sequence[int] | None) -> int:
        """Drops dead letters for good."""
        return await self._log.run(lambda connection: sql.drop(connection, name, positions))
