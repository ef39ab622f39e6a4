"""The one writer: a thread that commits whatever waits in one transaction (group commit), so that FULL durability is fast.

A full disk refuses the writes at hand and goes on; any other failure of the disk ends the process, for what it promised can no
longer be known: an fsync that failed once may claim success the next time (Rebello et al., "Can Applications Recover from fsync
Failures?", ATC 2020).
"""

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bus import store
from bus.appending import Appender
from bus.batches import Append, Appended, Batch
from bus.settings import BusSettings
from mesh.clock import Clock, to_us

log = logging.getLogger(__name__)
T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]
EXIT_DISK_FAILED = 74


class DiskFull(Exception):
    """There is no room for a write; nothing of it was stored."""


class QueueFull(Exception):
    """Too many writes wait for the disk already."""


class Closed(Exception):
    """The log is closed or closing."""


@dataclass(frozen=True)
class Committed:
    """What one commit did, told in the loop's thread."""

    batches: Sequence[Batch]
    head: int
    types: Mapping[str, int] | None


@dataclass(slots=True)
class _Waiting:
    """A write and who waits for it: a publish, or a job that runs SQL of its own."""

    work: Append | Job
    done: asyncio.Future[Any]
    outcome: Any = None


def end_process(error: BaseException) -> None:
    """Fail-stop: the supervisor starts the process anew, and recovery reads what is really on the disk."""
    log.critical("the log's disk failed; the process ends", exc_info=error)
    os._exit(EXIT_DISK_FAILED)


class Writer:
    """Owns the connection that writes. Submit from the loop's thread; futures resolve there, after the commit."""

    def __init__(
        self,
        path: Path,
        settings: BusSettings,
        clock: Clock,
        on_commit: Callable[[Committed], None],
        on_failure: Callable[[BaseException], None] = end_process,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closed = False
        self.commits = 0
        self._connection = store.connect(path)
        store.migrate(self._connection)
        self._appender = Appender(self._connection, settings.coalesce_bytes)
        self._thread = threading.Thread(target=self._run, name="bus writer", daemon=True)
        self._thread.start()

    @property
    def connection(self) -> sqlite3.Connection:
        """The writing connection; only for reads before the first submit."""
        return self._connection

    def append(self, append: Append) -> asyncio.Future[Appended]:
        """Stores a publish; VersionConflict, DiskFull, QueueFull or Closed when it cannot be."""
        return self._submit(append)

    def run(self, job: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Runs SQL inside the writer's next transaction, under a savepoint of its own; its exceptions come back."""
        return self._submit(job)

    async def close(self) -> None:
        """Commits what waits and ends the thread."""
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _submit(self, work: Append | Job) -> asyncio.Future[Any]:
        if self._closed:
            raise Closed
        if self._queue.qsize() >= self._settings.write_queue:
            raise QueueFull
        waiting = _Waiting(work, self._loop.create_future())
        self._queue.put(waiting)
        return waiting.done

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            more = True
            with suppress(queue.Empty):
                while more and len(group) < self._settings.commit_batch:
                    item = self._queue.get_nowait()
                    more = item is not None
                    if item is not None:
                        group.append(item)
            try:
                self._commit(group)
            except sqlite3.Error as error:
                self._undo(group, error)
            if not more:
                return

    def _commit(self, group: list[_Waiting]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        # publishes first: they share records; jobs among themselves keep their order
        appends = [waiting for waiting in group if isinstance(waiting.work, Append)]
        outcomes, batches = self._appender.store(
            [waiting.work for waiting in appends if isinstance(waiting.work, Append)], to_us(self._clock.now())
        )
        for waiting, outcome in zip(appends, outcomes, strict=True):
            waiting.outcome = outcome
        for waiting in group:
            if not isinstance(waiting.work, Append):
                waiting.outcome = self._run_job(waiting.work)
        self._connection.execute("COMMIT")
        self._tell(group, Committed(batches, self._appender.head, self._appender.new_types()))

    def _run_job(self, job: Job) -> Any:
        self._connection.execute("SAVEPOINT job")
        try:
            outcome = job(self._connection)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - a job's own failure belongs to whoever submitted it
            self._connection.execute("ROLLBACK TO job")
            outcome = error
        self._connection.execute("RELEASE job")
        return outcome

    def _undo(self, group: list[_Waiting], error: sqlite3.Error) -> None:
        if not store.is_disk_full(error):
            self._on_failure(error)
        else:
            log.error("the disk is full: %d writes are refused", len(group))
        with suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")
        self._appender.reload()
        for waiting in group:
            waiting.outcome = DiskFull() if store.is_disk_full(error) else error
        self._tell(group, None)

    def _tell(self, group: list[_Waiting], committed: Committed | None) -> None:
        # the loop may be gone already when the process is being torn down
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._resolve, group, committed)

    def _resolve(self, group: list[_Waiting], committed: Committed | None) -> None:
        if committed is not None:
            self.commits += 1
            self._on_commit(committed)
        for waiting in group:
            if waiting.done.done():
                continue
            if isinstance(waiting.outcome, Exception):
                waiting.done.set_exception(waiting.outcome)
            else:
                waiting.done.set_result(waiting.outcome)


class Checkpointer:
    """Moves the write-ahead log into the database in a thread and over a connection of its own, so that no commit waits for it."""

    def __init__(self, path: Path, settings: BusSettings) -> None:
        self._wal = path.with_name(path.name + "-wal")
        self._settings = settings
        self._stop = threading.Event()
        self._connection = store.connect(path)
        self._thread = threading.Thread(target=self._run, name="bus checkpointer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _run(self) -> None:
        while not self._stop.wait(self._settings.checkpoint_interval.total_seconds()):
            try:
                store.checkpoint(self._connection, truncate=self._wal.stat().st_size > self._settings.wal_limit_bytes)
            except (sqlite3.Error, OSError) as error:
                # nothing is lost: the write-ahead log holds it all until a later checkpoint succeeds
                log.warning("a checkpoint failed: %s", error)
