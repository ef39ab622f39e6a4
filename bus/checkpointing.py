"""Moves the write-ahead log into the database in a thread and over a connection of its own, so that no commit waits for it."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from bus import store
from bus.ballast import Ballast
from bus.settings import BusSettings
from bus.writer import end_process

log = logging.getLogger(__name__)
_TRUNCATE_AGAIN_SECONDS = 0.02


class Checkpointer:
    """Moves the write-ahead log into the database in a thread and over a connection of its own, so that no commit waits for it."""

    def __init__(
        self,
        path: Path,
        ballast: Ballast,
        settings: BusSettings,
        on_failure: Callable[[BaseException], None] = end_process,
    ) -> None:
        self._ballast = ballast
        self._on_failure = on_failure
        self._file = path
        self._wal = path.with_name(path.name + "-wal")
        self._settings = settings
        self._stop = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._connection = store.connect(path)
        # emptying the write-ahead log keeps the writer out while it waits for readers: it must not wait
        store.wait_for_locks(self._connection, 0)
        self._thread = threading.Thread(target=self._run, name="bus checkpointer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    async def truncate(self) -> None:
        """Moves everything and empties the write-ahead log; returns when that is done, once no reader holds on to it."""
        while not await asyncio.to_thread(self._checkpoint, truncate=True):  # noqa: ASYNC110 - no reader tells that it ends
            await asyncio.sleep(_TRUNCATE_AGAIN_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(self._settings.checkpoint_interval.total_seconds()):
            try:
                self._checkpoint(truncate=self._wal.stat().st_size > self._settings.wal_limit_bytes)
                self._ballast.fit(self._file.stat().st_size)
            except (sqlite3.Error, OSError) as error:
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Nothing is lost yet: the write-ahead log holds it all until a later checkpoint. But a failed sync ends the process."""
        if isinstance(error, sqlite3.Error) and store.is_sync_failure(error):
            self._on_failure(error)
        log.warning("a checkpoint failed: %s", error)

    def _checkpoint(self, *, truncate: bool) -> bool:
        with self._one_at_a_time:
            while True:
                try:
                    return store.checkpoint(self._connection, truncate=truncate)
                except sqlite3.Error as error:
                    if not (store.is_disk_full(error) and self._ballast.give()):
                        raise
