"""Moves the write-ahead log into the database in a thread and over a connection of its own, so that no commit waits for it.

While commits follow each other some pages always come during the move, and SQLite would go on at the end of the file for ever.
So the writer moves the last few itself, between two commits: then the file begins anew. A sync of bytes that overwrite others
takes half the time of one that brings the file's new length to the disk too (ext4: 0.10 ms instead of 0.20).
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bus import file_store
from bus.ballast import Ballast
from bus.settings import BusSettings
from bus.writer import Job, end_process

log = logging.getLogger(__name__)
T = TypeVar("T")
_TRUNCATE_AGAIN_SECONDS = 0.02
# the file is moved so often that about so many pages gather in it: so long it is, and what is overwritten is still in the caches
_PAGES = 512
_LEAST_SECONDS, _FIRST_SECONDS = 0.02, 0.05
# so few pages the writer moves itself
_FEW_PAGES = 64
_PASSES = 4


class Checkpointer:
    """Moves the write-ahead log into the database in a thread and over a connection of its own, so that no commit waits for it."""

    def __init__(
        self,
        path: Path,
        ballast: Ballast,
        settings: BusSettings,
        before_next: Callable[[Job], None],
        on_failure: Callable[[BaseException], None] = end_process,
    ) -> None:
        self._before_next = before_next
        self._ballast = ballast
        self._on_failure = on_failure
        self._file = path
        self._wal = path.with_name(path.name + "-wal")
        self._settings = settings
        # pages in use when it was moved last; 0 once it begins anew
        self._seen = 0
        self._stop = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._connection = file_store.connect(path)
        # emptying the write-ahead log keeps the writer out while it waits for readers: it must not wait
        file_store.wait_for_locks(self._connection, 0)
        self._thread = threading.Thread(target=self._run, name="bus checkpointer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    async def truncate(self) -> None:
        """Moves everything and empties the write-ahead log; returns when that is done, once no reader holds on to it."""
        while not await asyncio.to_thread(self._with_room, file_store.truncate):  # noqa: ASYNC110 - no reader tells that it ends
            await asyncio.sleep(_TRUNCATE_AGAIN_SECONDS)

    def _run(self) -> None:
        longest = self._settings.checkpoint_interval.total_seconds()
        wait = min(longest, _FIRST_SECONDS)
        while not self._stop.wait(wait):
            try:
                pages = self._move()
                wait = min(longest, 2 * wait, max(_LEAST_SECONDS, wait * _PAGES / max(1, pages)))
                self._ballast.fit(self._file.stat().st_size)
            except (sqlite3.Error, OSError) as error:
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Nothing is lost yet: the write-ahead log holds it all until a later checkpoint. But a failed sync ends the process."""
        if isinstance(error, sqlite3.Error) and file_store.is_sync_failure(error):
            self._on_failure(error)
        log.warning("a checkpoint failed: %s", error)

    def _move(self) -> int:
        """Gives how many pages have come since the last time."""
        if self._wal.stat().st_size > self._settings.wal_limit_bytes:
            self._with_room(file_store.truncate)
            return _PAGES
        used = self._with_room(file_store.checkpoint)
        # fewer than before: the file has begun anew by itself
        came = used - self._seen if used >= self._seen else used
        self._seen = used
        for _ in range(_PASSES if came and used > _FEW_PAGES else 0):
            before, self._seen = self._seen, self._with_room(file_store.checkpoint)
            if self._seen - before <= _FEW_PAGES:
                self._before_next(self._finish)
                break
        return came

    def _finish(self, connection: sqlite3.Connection) -> None:
        """Moves what came meanwhile, over the writer's connection; when something is in the way the next time will do."""
        try:
            file_store.checkpoint(connection)
            self._seen = 0
        except sqlite3.Error as error:
            self._failed(error)

    def _with_room(self, move: Callable[[sqlite3.Connection], T]) -> T:
        """Moves pages; on a full disk with what the ballast gives."""
        with self._one_at_a_time:
            return self._ballast.lend(lambda: move(self._connection))
