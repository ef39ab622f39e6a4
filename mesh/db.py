"""A service's SQLite file: one writer with group commit, a few readers, and the promise that what is answered is on disk.

Writes that wait at the same time share one transaction and one fsync (group commit, after Gray & Reuter, "Transaction Processing",
1992, ch. 9): each runs under its own savepoint, so that one that fails undoes only itself.
"""

import asyncio
import contextvars
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import aiosqlite
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors, migrations
from mesh.clock import Clock, SystemClock, to_us
from mesh.settings import MeshSettings

log = logging.getLogger(__name__)
Row = sqlite3.Row
T = TypeVar("T")
Params = Mapping[str, object]
_NO_PARAMS: Params = {}
_SOON = timedelta(milliseconds=200)


class Transaction:
    """What a store function gets: statements with named parameters (":name") inside one transaction."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self.callbacks: list[Callable[[], None]] = []

    async def execute(self, sql: str, params: Params = _NO_PARAMS) -> int:
        """Runs one statement; gives the number of rows it changed."""
        cursor = await self._connection.execute(sql, cast(dict[str, Any], params))
        return cursor.rowcount

    async def execute_many(self, sql: str, rows: Sequence[Params]) -> None:
        """Runs one statement for each of the rows."""
        await self._connection.executemany(sql, cast(Iterable[dict[str, Any]], rows))

    async def fetch_one(self, sql: str, params: Params = _NO_PARAMS) -> Row | None:
        """The first row, or None."""
        rows = await self.fetch_all(sql, params)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, params: Params = _NO_PARAMS) -> list[Row]:
        """Every row; a row gives its columns by name and by place."""
        return list(await self._connection.execute_fetchall(sql, cast(dict[str, Any], params)))

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Calls back when the transaction is on disk; not at all when it is undone."""
        self.callbacks.append(callback)


@dataclass
class _Job:
    """A write that waits for its turn, and then for its commit."""

    work: Callable[[Transaction], Awaitable[Any]]
    context: contextvars.Context
    done: asyncio.Future[Any]
    result: Any = None
    failure: BaseException | None = None
    callbacks: list[Callable[[], None]] = field(default_factory=list)


class Database:
    """One SQLite file in WAL mode with synchronous=FULL: `write` and `read` run a function inside a transaction."""

    def __init__(self, path: Path, settings: MeshSettings, writer: aiosqlite.Connection) -> None:
        self.path = path
        self._settings = settings
        self._writer = writer
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(settings.write_queue)
        self._readers: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        self._loop_task: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        schema: Sequence[tuple[str, Path]] = (),
        settings: MeshSettings | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """Opens or makes the file and applies the migrations of each (owner, folder); the kit's own come first."""
        settings = settings or MeshSettings()
        path.parent.mkdir(parents=True, exist_ok=True)
        database = cls(path, settings, await _connect(path, settings))
        try:
            wanted = [step for owner, folder in (("kit", migrations.KIT), *schema) for step in migrations.read(owner, folder)]
            await migrations.apply(database._writer, wanted, to_us((clock or SystemClock()).now()))
            for _ in range(settings.read_connections):
                database._readers.put_nowait(await _connect(path, settings, query_only=True))
        except BaseException:
            # each connection is a thread: one left open would keep the process from ending
            await database._close_connections()
            raise
        database._loop_task = asyncio.create_task(database._write_loop(), name=f"writer of {path.name}")
        return database

    async def close(self) -> None:
        """Ends the writer and closes the file. Writes that still wait are refused."""
        if self._loop_task:
            self._loop_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop_task
        while not self._jobs.empty():
            self._jobs.get_nowait().done.cancel()
        for _ in range(self._settings.read_connections):
            await (await self._readers.get()).close()
        await self._close_connections()

    async def _close_connections(self) -> None:
        while not self._readers.empty():
            await self._readers.get_nowait().close()
        await self._writer.close()

    async def failed(self) -> None:
        """Returns only by raising: the error that stopped the writer. The process must end then, for its promise is broken."""
        if self._loop_task:
            await asyncio.shield(self._loop_task)

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Runs `work` in a write transaction; returns when it is on disk. `work` may await the transaction only."""
        if self._loop_task is None or self._loop_task.done():
            raise errors.unavailable("database", reason=ErrorReason.ERROR_REASON_NOT_READY)
        job = _Job(work, contextvars.copy_context(), asyncio.get_running_loop().create_future())
        try:
            self._jobs.put_nowait(job)
        except asyncio.QueueFull:
            raise _queue_full(self._settings.write_queue) from None
        return cast(T, await job.done)

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Runs `work` on a snapshot of what is committed; it sees no later write."""
        connection = await self._readers.get()
        try:
            await connection.execute("BEGIN")
            try:
                return await work(Transaction(connection))
            finally:
                await connection.execute("ROLLBACK")
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

    async def _write_loop(self) -> None:
        while True:
            batch = [await self._jobs.get()]
            try:
                await self._run_batch(batch)
            except sqlite3.Error as error:
                self._fail(batch, error)
                if not _disk_full(error) and not _busy(error):
                    raise
            except BaseException:
                for job in batch:
                    job.done.cancel()
                raise

    async def _run_batch(self, batch: list[_Job]) -> None:
        """Runs the first job and whatever waits behind it, then commits once; answers leave after the commit."""
        await self._writer.execute("BEGIN IMMEDIATE")
        try:
            alone = await self._run_job(batch[0], savepoint=False)
            while alone and len(batch) < self._settings.commit_batch and not self._jobs.empty():
                batch.append(self._jobs.get_nowait())
                await self._run_job(batch[-1], savepoint=True)
            await self._writer.execute("COMMIT" if alone else "ROLLBACK")
        except BaseException:
            with suppress(sqlite3.Error):
                await self._writer.execute("ROLLBACK")
            raise
        for job in batch:
            self._answer(job)

    async def _run_job(self, job: _Job, *, savepoint: bool) -> bool:
        """Runs one job; a failure undoes that job alone. Gives True when it succeeded."""
        if savepoint:
            await self._writer.execute("SAVEPOINT job")
        transaction = Transaction(self._writer)
        try:
            job.result = await asyncio.get_running_loop().create_task(_run(job.work, transaction), context=job.context)
        except Exception as error:
            if isinstance(error, sqlite3.OperationalError) and (_disk_full(error) or _busy(error)):
                raise
            job.failure = error
            if savepoint:
                await self._writer.execute("ROLLBACK TO job")
        job.callbacks = transaction.callbacks
        if savepoint:
            await self._writer.execute("RELEASE job")
        return job.failure is None

    def _answer(self, job: _Job) -> None:
        if job.failure is None:
            for callback in job.callbacks:
                callback()
        if job.done.done():
            return
        if job.failure is None:
            job.done.set_result(job.result)
        else:
            job.done.set_exception(job.failure)

    def _fail(self, batch: list[_Job], error: sqlite3.Error) -> None:
        refusal: Exception = error
        if _disk_full(error):
            reason = ErrorReason.ERROR_REASON_DISK_FULL
            refusal = errors.exhausted("disk", f"the disk that holds {self.path.name} is full; make room", reason=reason)
        elif _busy(error):
            refusal = errors.unavailable("database", detail="another process holds its write lock")
        log.error("a batch of %d writes failed", len(batch), exc_info=error)
        for job in batch:
            if not job.done.done():
                job.done.set_exception(refusal)


async def _run(work: Callable[[Transaction], Awaitable[T]], transaction: Transaction) -> T:
    return await work(transaction)


async def _connect(path: Path, settings: MeshSettings, *, query_only: bool = False) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path, isolation_level=None, timeout=settings.busy_timeout.total_seconds())
    connection.row_factory = sqlite3.Row
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", f"query_only = {int(query_only)}"):
        await connection.execute(f"PRAGMA {pragma}")
    return connection


def _queue_full(limit: int) -> errors.Refusal:
    return errors.exhausted(MeshSettings.env_name("write_queue"), f"{limit} writes wait already; try again soon", retry_after=_SOON)


def _disk_full(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def _busy(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
