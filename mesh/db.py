"""A service's SQLite file: one writer with group commit, a few readers, and the promise that what is answered is on disk.

Writes that wait at the same time share one transaction and one fsync (group commit, after Gray & Reuter, "Transaction Processing",
1992, ch. 9): each runs under its own savepoint, so that one that fails undoes only itself.

Store functions are coroutines, because on PostgreSQL they will wait for a network. On SQLite nothing in them does, so a
transaction runs from begin to commit on its connection's thread: one hop there and back (60 to 100 µs), not one a statement.
Brief ones run on the loop's own thread, and only their commit, which waits for the disk, on the other: two threads that share
Python's lock and take turns at it cost more than they gain (docs/decisions/0017).
"""

import asyncio
import contextvars
import logging
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import aiosqlite
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import db_batch, db_errors, errors, migrations
from mesh.clock import Clock, SystemClock, to_us
from mesh.db_batch import Job
from mesh.remembered import Remembered
from mesh.settings import MeshSettings
from mesh.transaction import Row, Transaction

# stores import what they work with from here
__all__ = ["Database", "Row", "Transaction"]
log = logging.getLogger(__name__)
T = TypeVar("T")
# brief writes of one commit that the loop runs by itself: more would keep it from all else for too long
_HERE = 64
# before a store that can take nothing is asked again, where nobody waits for an answer
_AGAIN_S = 0.5
_WAITS = "%s can be written by nobody here now (%s); this waits until it can"
# copies of pages that savepoints need go to memory, not to a file each time
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY")


class _Connection(aiosqlite.Connection):
    """An aiosqlite connection that also runs a whole function on its thread."""

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Gives what the function gives."""
        return await self.begin(function)

    def begin(self, function: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """The same, to be waited for later."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((future, partial(function, self._conn)))
        return future

    async def ended(self) -> None:
        """Waits for the end of the thread of a connection that could not be made: it still speaks to the loop."""
        await asyncio.to_thread(self._thread.join)

    @property
    def idle(self) -> sqlite3.Connection:
        """SQLite's own connection, for whoever knows that its thread has nothing to do."""
        return self._conn


class Database:
    """One SQLite file in WAL mode with synchronous=FULL: `write` and `read` run a function inside a transaction."""

    def __init__(self, path: Path, settings: MeshSettings, writer: _Connection) -> None:
        self.path = path
        self._memory = Remembered()
        self._settings = settings
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job] = deque()
        # whether a commit is under way or about to be, and the one that is
        self._writing = False
        self._committing: asyncio.Future[None] | None = None
        self._readers: asyncio.Queue[_Connection] = asyncio.Queue()
        # while it is open: ends by the error that stops the writer
        self._stopped: asyncio.Future[None] | None = None
        # while it is set, as during a boot, what the store cannot take now is not refused but waits
        self.patient = False

    @classmethod
    async def open(
        cls,
        path: Path,
        schema: Sequence[tuple[str, Path]] = (),
        settings: MeshSettings | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """Opens or makes the file and applies the migrations of each (owner, folder); the kit's own come first.

        Waits while another process holds the file's lock, or the disk is full. UnusableError for a file that helps nobody as it is.
        """
        settings = settings or MeshSettings()
        path.parent.mkdir(parents=True, exist_ok=True)
        wanted = [step for owner, folder in (("kit", migrations.KIT), *schema) for step in migrations.read(owner, folder)]
        database = cls(path, settings, await _once_it_can(path, partial(_connect, path, settings)))
        try:
            now_us = to_us((clock or SystemClock()).now())
            await _once_it_can(path, partial(migrations.apply, database._writer, wanted, now_us))
            # from here on it is this class that waits for another process's lock: a brief write must not, where it runs
            await database._writer.run(lambda connection: connection.execute("PRAGMA busy_timeout = 0").fetchall())
            for _ in range(settings.read_connections):
                database._readers.put_nowait(await _once_it_can(path, partial(_connect, path, settings, query_only=True)))
        except BaseException:
            # each connection is a thread: one left open would keep the process from ending
            await database._close_connections()
            raise
        database._stopped = database._loop.create_future()
        return database

    async def close(self) -> None:
        """Ends the writer and closes the file. Writes that still wait are refused."""
        if self._stopped is not None:
            self._stopped.cancel()
        self._cancel_waiting()
        if self._committing is not None:
            await asyncio.wait({self._committing})
        for _ in range(self._settings.read_connections):
            await (await self._readers.get()).close()
        await self._close_connections()

    async def _close_connections(self) -> None:
        while not self._readers.empty():
            await self._readers.get_nowait().close()
        await self._writer.close()

    async def failed(self) -> None:
        """Returns only by raising: the error that stopped the writer. The process must end then, for its promise is broken."""
        if self._stopped is not None:
            await asyncio.shield(self._stopped)

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Runs `work` in a write transaction; returns when it is on disk. `work` may await the transaction only."""
        return await self.submit(work)

    def submit(self, work: Callable[[Transaction], Awaitable[T]], *, brief: bool = False) -> asyncio.Future[T]:
        """The same, to be waited for later: it is done whether anybody waits or not.

        `brief`: it takes no longer than other things that the loop does, some tens of statements that find their rows by a key.
        """
        if self._stopped is None or self._stopped.done():
            raise errors.unavailable("database", reason=ErrorReason.ERROR_REASON_NOT_READY)
        if len(self._waiting) >= self._settings.write_queue:
            raise db_errors.queue_full(self._settings.write_queue)
        job = Job(work, contextvars.copy_context(), self._loop.create_future(), brief)
        self._waiting.append(job)
        self._begin_soon()
        return job.done

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Runs `work` on a snapshot of what is committed; it sees no later write."""
        connection = await self._readers.get()
        try:
            return await connection.run(partial(_read, work))
        finally:
            self._readers.put_nowait(connection)

    async def backup(self, target: Path) -> None:
        """Copies the database to another file while it is in use (SQLite's online backup)."""
        connection = await self._readers.get()
        try:
            async with aiosqlite.connect(target) as copy:
                await connection.backup(copy)
        finally:
            self._readers.put_nowait(connection)

    def _begin_soon(self) -> None:
        """Lets what waits be written in a moment, together with what comes in that moment."""
        if self._waiting and not self._writing:
            self._writing = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Writes what waits in one commit; what comes meanwhile waits for the next one."""
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._settings.commit_batch))]
        if batch:
            self._committing = self._written(batch)
            self._committing.add_done_callback(partial(self._committed, batch))
        else:
            self._writing = False

    def _written(self, batch: list[Job]) -> asyncio.Future[None]:
        """Lets a batch be written: brief jobs here as far as the commit, others on the connection's thread from the beginning."""
        if len(batch) <= _HERE and all(job.brief for job in batch):
            connection = self._writer.idle
            try:
                if db_batch.begin(connection):
                    db_batch.run(batch, self._memory, connection)
                    return self._writer.begin(partial(db_batch.commit, self._memory))
            except BaseException as error:  # noqa: BLE001 - told like one of the other thread
                failed: asyncio.Future[None] = self._loop.create_future()
                failed.set_exception(error)
                return failed
        patience = self._settings.busy_timeout.total_seconds()
        return self._writer.begin(partial(db_batch.write, batch, self._memory, patience))

    def _committed(self, batch: list[Job], ended: asyncio.Future[None]) -> None:
        self._writing, self._committing = False, None
        try:
            ended.result()
            for job in batch:
                self._answer(job)
        except sqlite3.Error as error:
            if self.patient and db_errors.passes(error):
                self._wait_with(batch, error)
                return
            self._fail(batch, error)
            if not db_errors.passes(error):
                self._stop(error)
        except BaseException as error:  # noqa: BLE001 - whatever it is: the promise is broken, and the process must end
            for job in batch:
                job.done.cancel()
            self._stop(error)
        self._begin_soon()

    def _wait_with(self, batch: list[Job], error: sqlite3.Error) -> None:
        """Writes the same again in a moment, before all else."""
        log.warning(_WAITS, self.path.name, error)
        self._waiting.extendleft(reversed(batch))
        self._writing = True
        self._loop.call_later(_AGAIN_S, self._begin)

    def _stop(self, error: BaseException) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_exception(error)
        self._cancel_waiting()

    def _cancel_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft().done.cancel()

    def _answer(self, job: Job) -> None:
        if job.failure is None:
            for callback in job.callbacks:
                callback()
        if job.done.done():
            return
        if job.failure is None:
            job.done.set_result(job.result)
        else:
            job.done.set_exception(job.failure)

    def _fail(self, batch: list[Job], error: sqlite3.Error) -> None:
        refusal = db_errors.refusal_of(error, self.path.name)
        log.error("a batch of %d writes failed", len(batch), exc_info=error)
        for job in batch:
            if not job.done.done():
                job.done.set_exception(refusal)


def _read(work: Callable[[Transaction], Awaitable[T]], connection: sqlite3.Connection) -> T:
    """One read transaction, on the connection's thread."""
    connection.execute("BEGIN")
    try:
        return db_batch.finish(work, Transaction(connection))
    finally:
        connection.execute("ROLLBACK")


async def _once_it_can(path: Path, work: Callable[[], Awaitable[T]]) -> T:
    """Does the work when neither a lock of another process nor a full disk is in its way any more."""
    while True:
        try:
            return await work()
        except sqlite3.Error as error:
            if not db_errors.passes(error):
                raise db_errors.unusable(error, path) from error
            log.warning(_WAITS, path.name, error)
        await asyncio.sleep(_AGAIN_S)


async def _connect(path: Path, settings: MeshSettings, *, query_only: bool = False) -> _Connection:
    def connector() -> sqlite3.Connection:
        # one thread at a time uses it, but not always the same
        patience = settings.busy_timeout.total_seconds()
        connection = sqlite3.connect(path, isolation_level=None, timeout=patience, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        for pragma in (*_PRAGMAS, f"query_only = {int(query_only)}"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    connection = _Connection(connector, iter_chunk_size=64)
    try:
        await connection
    except sqlite3.Error:
        await connection.ended()
        raise
    return connection
