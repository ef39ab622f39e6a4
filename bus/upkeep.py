"""What goes out of the log again: by age and size, by subject, by what supersedes it; from memory and from the file."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from bus import batch_store, file_store, key_store, removal, subscription_store
from bus.appending import Appender
from bus.batches import Batch
from bus.checkpointing import Checkpointer
from bus.filters import Filter
from bus.recent import Recent
from bus.settings import BusSettings, retention_of_types
from bus.storage import KeepFrom
from bus.writer import Writer
from mesh.clock import Clock, to_us

if TYPE_CHECKING:
    from bus.log import Log

_CUTS_AT_A_TIME = 32
_PAGES_AT_A_TIME = 512


class Upkeep:
    """Deletes and takes out, a part in each of the writer's transactions. Positions never move."""

    def __init__(
        self,
        log: "Log",
        writer: Writer,
        appender: Appender,
        checkpointer: Checkpointer,
        recent: Recent,
        settings: BusSettings,
        clock: Clock,
    ) -> None:
        self._log = log
        self._writer = writer
        self._appender = appender
        self._checkpointer = checkpointer
        self._recent = recent
        self._settings = settings
        self._clock = clock

    async def retain(self, keep_from: KeepFrom) -> int:
        """Applies retention and the uniqueness window; nothing at or beyond `keep_from` is deleted. Returns the events deleted."""
        # the plan goes by the tables, and on a quiet log ids grow old that are not in them yet
        await self._writer.run(lambda _: None, noted=True)
        kept = keep_from()
        up_to, forget = await self._log.query(lambda connection: self._plan(connection, kept))
        self._appender.forget(forget)
        # where a subscription was moved back meanwhile, the next time will do
        deleted = await self._drop(up_to if up_to < keep_from() else 0, forget)
        now = self._clock.now()
        for pattern, age in retention_of_types(self._settings.retention_types):
            wanted = self._log.wanted_types(Filter((pattern,)))
            deleted += await self._remove_before(keep_from, partial(removal.expired, wanted, to_us(now - age)))
        await self._drop_gone(keep_from)
        return deleted

    async def erase(self, subject: str) -> int:
        """Takes every event of a subject out of the log and what subscriptions keep of it, from the file too; returns how many."""
        async with self._log.leaving:
            removed = await self._remove(removal.of_subject(subject), overwrite=True)
            await self._writer.run(lambda connection: self._forget_subject(connection, subject), noted=True)
            self._log.left += 1
        # pages that are free since something else was deleted may hold text of it too, and so may the write-ahead log
        while await self._writer.run(partial(file_store.overwrite_free_pages, most=_PAGES_AT_A_TIME)):
            pass
        await self._writer.run(file_store.forget_overwritten)
        await self._checkpointer.truncate()
        return removed

    async def compact(self, patterns: Sequence[str], min_age: timedelta, keep_from: KeepFrom) -> int:
        """Keeps of each subject only the newest event of each type named. Returns the number of events that are gone."""
        removed = 0
        before = to_us(self._clock.now() - min_age) + 1
        for pattern in patterns:
            wanted = self._log.wanted_types(Filter((pattern,)))
            find = partial(removal.superseded, wanted, before, most_subjects=self._settings.compact_subjects)
            removed += await self._remove_before(keep_from, find)
        return removed

    async def _remove_before(self, keep_from: KeepFrom, finder: Callable[..., removal.Finder]) -> int:
        """Takes out what a finder for a position finds before it; returns the number of events."""
        async with self._log.leaving:
            return await self._remove(finder(keep_from=keep_from()), keep_from)

    async def _remove(self, find: removal.Finder, keep_from: KeepFrom | None = None, *, overwrite: bool = False) -> int:
        """Some batches in a transaction."""
        cuts = await self._log.query(lambda connection: list(find(connection)))
        removed = 0
        for start in range(0, len(cuts), _CUTS_AT_A_TIME):
            part = cuts[start : start + _CUTS_AT_A_TIME]
            if keep_from is not None:
                # a subscription may have been moved back since they were found
                kept = keep_from()
                part = [cut for cut in part if cut.position + max(cut.indexes) < kept]
            for batch in await self._writer.run(partial(_remove, cuts=part, overwrite=overwrite), noted=True):
                self._recent.replace(batch)
            removed += sum(len(cut.indexes) for cut in part)
        self._log.removed += removed
        self._log.left += bool(cuts)
        return removed

    def _plan(self, connection: sqlite3.Connection, keep_from: int) -> tuple[int, int]:
        """Up to where batches, and ids, have to go."""
        now, settings = self._clock.now(), self._settings
        # not by the times of the batches: ids are remembered longer than those
        too_old = key_store.ids_before(connection, to_us(now - settings.unique_age))
        forget = max(too_old, batch_store.head(connection)[0] - settings.unique_count, 0)
        up_to = 0
        if settings.retention_age:
            up_to = batch_store.position_before(connection, to_us(now - settings.retention_age))
        if settings.retention_count:
            up_to = max(up_to, self._log.head - settings.retention_count)
        if settings.retention_bytes:
            up_to = max(up_to, batch_store.last_beyond_bytes(connection, settings.retention_bytes))
        return batch_store.batch_end(connection, min(up_to, keep_from - 1)), forget

    async def _drop_gone(self, keep_from: KeepFrom) -> None:
        """Deletes the oldest batches of which nothing is left; whoever still reads before `keep_from` would take them for a gap."""
        kept = keep_from()
        gone = await self._log.query(lambda connection: batch_store.gone_up_to(connection, kept))
        if 0 < gone < keep_from():
            await self._drop(gone)

    async def _drop(self, up_to: int, forget: int = 0) -> int:
        """Deletes batches up to the end of one, and forgets ids up to a position; 0: none. Returns the events deleted."""
        if up_to:
            # who reads on must be told that positions are gone before they are
            self._log.first = max(self._log.first, up_to + 1)
        deleted = await self._writer.run(partial(_delete, up_to=up_to, forget=forget), noted=True)
        self._recent.drop(up_to)
        return deleted

    def _forget_subject(self, connection: sqlite3.Connection, subject: str) -> None:
        with file_store.overwriting_deleted(connection, on=True):
            subscription_store.erase_subject(connection, subject)
            self._appender.forget_subject(subject)


def _remove(connection: sqlite3.Connection, cuts: Sequence[removal.Cut], *, overwrite: bool) -> list[Batch]:
    with file_store.overwriting_deleted(connection, on=overwrite):
        return removal.apply(connection, cuts)


def _delete(connection: sqlite3.Connection, up_to: int, forget: int) -> int:
    if forget:
        key_store.forget_ids(connection, forget)
    return batch_store.delete_batches(connection, up_to) if up_to else 0
