"""The one writer: commits whatever waits in one transaction (group commit), so that FULL durability is fast.

While commits are short they happen in the loop's thread, where handing over to another one would cost more than the commit; when
the disk is slow they happen in a thread of the writer's own (bus/pace.py decides).

A full disk refuses publishes and goes on, a lock of another process is waited for; any other failure of the disk ends the process,
for what it promised can no longer be known: an fsync that failed once may claim success the next time (Rebello et al., "Can
Applications Recover from fsync Failures?", ATC 2020).
"""

import asyncio
import logging
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from bus import file_store
from bus.appending import Appender
from bus.ballast import Ballast
from bus.batches import Append, Appended, Batch
from bus.pace import Pace
from bus.room import Room
from bus.settings import BusSettings
from bus.storage import Closed, DiskFull, QueueFull
from mesh.clock import Clock

log = logging.getLogger(__name__)
T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]
EXIT_DISK_FAILED = 74
_ALONE_BYTES = 64 * 1024
# how long a commit waits for another process's lock, which in the loop's own thread holds up all else; and then between two tries
_LOCK_MS, _LOCKED_AGAIN_S = 200, 0.1


@dataclass(slots=True)
class Committed:
    """What one commit did, told in the loop's thread."""

    batches: Sequence[Batch]
    head: int
    duplicates: int


@dataclass(slots=True)
class _Waiting:
    """A write and who waits for it: a publish, or a job that runs SQL of its own."""

    work: Append | Job
    done: asyncio.Future[Any]
    outcome: Any = None
    # a job that deletes records needs what is noted of them to be on the disk with it
    noted: bool = False


class _Locked(Exception):
    """Another process holds the write lock; nothing was written."""


def end_process(error: BaseException) -> None:
    """Fail-stop: the supervisor starts the process anew, and recovery reads what is really on the disk."""
    log.critical("the log's disk failed; the process ends", exc_info=error)
    os._exit(EXIT_DISK_FAILED)


class Writer:
    """Owns the connection that writes. Submit from the loop's thread; futures resolve there, after the commit."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        ballast: Ballast,
        appender: Appender,
        settings: BusSettings,
        clock: Clock,
        on_commit: Callable[[Committed], None],
        on_failure: Callable[[BaseException], None] = end_process,
    ) -> None:
        self._connection = connection
        connection.execute(f"PRAGMA busy_timeout = {_LOCK_MS}")
        self._appender = appender
        self._most_waiting, self._most_at_once = settings.write_queue, settings.commit_batch
        self._clock = clock
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._scheduled = False
        self._busy = False
        self._closed = False
        self._idle = asyncio.Event()
        self._groups: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.pace = Pace(settings.inline_commit.total_seconds())
        self.commits = 0
        self._before_next: Job | None = None
        self.room = Room(connection, ballast, on_failure)

    def append(self, append: Append) -> asyncio.Future[Appended]:
        """Stores a publish; VersionConflict, DiskFull, QueueFull or Closed when it cannot be."""
        if self.room.full:
            raise DiskFull
        return self._submit(append)

    def run(self, job: Callable[[sqlite3.Connection], T], *, noted: bool = False) -> asyncio.Future[T]:
        """Runs SQL inside the writer's next transaction, under a savepoint of its own; its exceptions come back.

        `noted`: what is found by the records alone is written down before it, for the job takes records away.
        """
        return self._submit(job, noted=noted)

    def before_next(self, work: Job) -> None:
        """Does something before the next transaction, in the thread that commits; may be asked for from any thread."""
        self._before_next = work

    async def close(self) -> None:
        """Commits what waits and ends."""
        self._closed = True
        while self._busy or self._waiting:
            self._idle.clear()
            self._turn_soon()
            await self._idle.wait()
        self.room.close()
        if self._thread:
            self._groups.put(None)
            await asyncio.to_thread(self._thread.join)
        try:
            self._appender.close()
        except sqlite3.Error as error:
            # nothing is lost: what this writes down is found again at the start
            log.warning("the log was closed without its last notes: %s", error)
        self._connection.close()

    def _submit(self, work: Append | Job, *, noted: bool = False) -> asyncio.Future[Any]:
        if self._closed:
            raise Closed
        if len(self._waiting) >= self._most_waiting:
            raise QueueFull
        waiting = _Waiting(work, self._loop.create_future(), noted=noted)
        self._waiting.append(waiting)
        self._turn_soon()
        return waiting.done

    def _turn_soon(self) -> None:
        """Commits at the end of this turn of the loop, so that all that comes in it shares the commit."""
        if not (self._scheduled or self._busy):
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._busy or not self._waiting:
            self._idle.set()
            return
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most_at_once))]
        if self.pace.inline:
            with suppress(_Locked):
                self._resolve(group, self._attempt(group))
                return
        self._busy = True
        self._hand_over(group)

    def _hand_over(self, group: list[_Waiting]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="bus writer", daemon=True)
            self._thread.start()
        self._groups.put(group)

    def _run(self) -> None:
        while (group := self._groups.get()) is not None:
            committed = self._attempt_until_free(group)
            # the loop may be gone already when the process is being torn down
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._returned, group, committed)

    def _returned(self, group: list[_Waiting], committed: Committed | None) -> None:
        self._busy = False
        self._resolve(group, committed)

    def _attempt_until_free(self, group: list[_Waiting]) -> Committed | None:
        """The same as an attempt, made again for as long as another process holds the lock."""
        while True:
            try:
                return self._attempt(group)
            except _Locked:
                log.warning("another process holds the write lock of the log; %d writes wait for it", len(group))
                time.sleep(_LOCKED_AGAIN_S)

    def _attempt(self, group: list[_Waiting]) -> Committed | None:
        """One transaction; None when the disk was full and it was rolled back. Jobs are tried again on what the ballast gives.

        _Locked when another process writes.
        """
        if work := self._before_next:
            self._before_next = None
            work(self._connection)
        try:
            return self._commit(group)
        except Exception as error:
            if file_store.is_locked(error):
                self._roll_back()
                raise _Locked from error
            self._undo(group, error)
        refused = [waiting for waiting in group if isinstance(waiting.outcome, DiskFull)]
        committed = self._commit_on_ballast([waiting for waiting in refused if not isinstance(waiting.work, Append)])
        self.room.short |= any(isinstance(waiting.outcome, DiskFull) for waiting in refused)
        return committed

    def _commit_on_ballast(self, jobs: list[_Waiting]) -> Committed | None:
        """Tries jobs again each time when the ballast has given room; None when there are none, or never enough."""
        for _ in self.room.portions() if jobs else ():
            try:
                return self._commit(jobs)
            except sqlite3.Error as error:
                self._undo(jobs, error)
        return None

    def _commit(self, group: list[_Waiting]) -> Committed:
        appends, works, jobs = _parted(group)
        outcomes, batches = self._appender.place(works, self._clock.now_us())
        duplicates = 0
        for waiting, outcome in zip(appends, outcomes, strict=True):
            waiting.outcome = outcome
            duplicates += outcome.duplicates if isinstance(outcome, Appended) else 0
        # once, and not in a job: what a job does is rolled back when it fails
        noting = self._appender.notes_due or any(waiting.noted for waiting in jobs)
        alone = not (jobs or noting) and len(batches) == 1 and len(batches[0].events) <= _ALONE_BYTES
        if alone:
            # one small record: SQLite commits the statement by itself, at half the price
            began = time.perf_counter()
            self._appender.insert(batches)
        else:
            began = self._transact(batches, jobs, noting=noting)
        if not noting:
            # one in a hundred, of more pages, says nothing of how long the others take
            self.pace.took(time.perf_counter() - began)
        self._appender.committed()
        self.room.committed(sum(len(batch.events) for batch in batches))
        return Committed(batches, self._appender.head, duplicates)

    def _transact(self, batches: Sequence[Batch], jobs: Sequence[_Waiting], *, noting: bool) -> float:
        """Records first, then notes, then jobs in their order. Gives the time when the commit began."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._appender.insert(batches)
        if noting:
            self._appender.write_notes()
        for waiting in jobs:
            if not isinstance(waiting.work, Append):
                waiting.outcome = self._run_job(waiting.work)
        began = time.perf_counter()
        self._connection.execute("COMMIT")
        return began

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

    def _undo(self, group: list[_Waiting], error: Exception) -> None:
        if not file_store.is_disk_full(error):
            self._on_failure(error)
        self._roll_back()
        for waiting in group:
            waiting.outcome = DiskFull() if file_store.is_disk_full(error) else error

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")
        self._appender.undo()

    def _resolve(self, group: list[_Waiting], committed: Committed | None) -> None:
        if committed is not None:
            self.commits += 1
            self._on_commit(committed)
        if self.room.short:
            self.room.run_out()
            group += self._refuse_waiting()
        for waiting in group:
            if waiting.done.done():
                continue
            if isinstance(waiting.outcome, Exception):
                waiting.done.set_exception(waiting.outcome)
            else:
                waiting.done.set_result(waiting.outcome)
        if self._waiting:
            self._turn_soon()
        elif not self._busy:
            self._idle.set()

    def _refuse_waiting(self) -> list[_Waiting]:
        """Takes out the publishes that wait: one that came after a refused one must not be stored before it."""
        refused = [waiting for waiting in self._waiting if isinstance(waiting.work, Append)]
        self._waiting = deque(waiting for waiting in self._waiting if not isinstance(waiting.work, Append))
        for waiting in refused:
            waiting.outcome = DiskFull()
        return refused


def _parted(group: list[_Waiting]) -> tuple[list[_Waiting], list[Append], list[_Waiting]]:
    """The publishes of a group, what each of them stores, and the jobs, each in their order."""
    appends: list[_Waiting] = []
    works: list[Append] = []
    jobs: list[_Waiting] = []
    for waiting in group:
        work = waiting.work
        if isinstance(work, Append):
            appends.append(waiting)
            works.append(work)
        else:
            jobs.append(waiting)
    return appends, works, jobs
