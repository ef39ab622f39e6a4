"""The durable log on SQLite: opened and closed, written by one writer, read from memory or by threads of its own."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self, TypeVar

from tooloo.event.v1.event_pb2 import Event

from bus import batch_store, file_store, scanning, type_store, upgrade
from bus.appending import Appender
from bus.ballast import Ballast
from bus.batches import GONE, Append, Appended, Batch
from bus.checkpointing import Checkpointer
from bus.lock import Lock
from bus.recent import Recent
from bus.settings import BusSettings
from bus.slices import Chunk, cut, together
from bus.storage import EventLog, KeepFrom
from bus.upkeep import Upkeep
from bus.writer import Committed, Writer, end_process
from mesh import contracts
from mesh.clock import Clock, SystemClock, from_us, to_us

T = TypeVar("T")
# of those in memory, that one reader looks at while everybody else waits
_BATCHES_AT_A_TIME = 1000


class Log(EventLog):
    """One log in one file. Positions grow by one from 1; what submit() gave back is on the disk."""

    way = "sqlite"

    def __init__(
        self,
        path: Path,
        lock: Lock,
        connection: sqlite3.Connection,
        settings: BusSettings,
        clock: Clock,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """On a file that is locked and up to date; open() sees to that."""
        super().__init__(type_store.event_types(connection), settings, clock)
        self.path = path
        self._lock = lock
        appender = Appender(connection, self._type_numbers, settings.coalesce_bytes, settings.unique_count)
        self.head = appender.head
        self.first = batch_store.first_position(connection)
        self._appender = appender
        self._recent = Recent(settings.recent_bytes)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(settings.read_threads, thread_name_prefix="bus reader")
        ballast = Ballast(path.with_name(path.name + "-ballast"), settings.ballast_bytes, path)
        self._writer = Writer(connection, ballast, appender, settings, clock, self._committed, on_failure)
        self._checkpointer = Checkpointer(path, ballast, settings, self._writer.before_next, on_failure)
        self._upkeep = Upkeep(self, self._writer, appender, self._checkpointer, self._recent, settings, clock)

    @classmethod
    async def open(
        cls,
        path: Path,
        settings: BusSettings | None = None,
        clock: Clock | None = None,
        on_failure: Callable[[BaseException], None] = end_process,
    ) -> Self:
        """Opens or makes the file; recovery of what a crash left is SQLite's and is done when this returns. InUse, CorruptBatch."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as undo:
            lock = Lock(path)
            undo.callback(lock.release)
            connection = file_store.connect(path)
            undo.callback(connection.close)
            file_store.migrate(connection, upgrade.UPGRADES)
            type_store.add_event_types(connection, [(entry.type, entry.owner) for entry in contracts.catalogue().values()])
            log = cls(path, lock, connection, settings or BusSettings(), clock or SystemClock(), on_failure)
            undo.pop_all()
        return log

    async def close(self) -> None:
        """Commits what waits, then closes the file."""
        await self._writer.close()
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()
        # the last one, for only who may write moves what is left into the database, which the next start would have to read first
        await self._checkpointer.close()
        self._lock.release()

    @property
    def commits(self) -> int:
        """Commits since the log was opened."""
        return self._writer.commits

    @property
    def size_bytes(self) -> int:
        """Bytes of the database file and its write-ahead log."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(path.stat().st_size for path in files if path.exists())

    @property
    def commit_seconds(self) -> float:
        """How long a commit takes now (moving average)."""
        return self._writer.pace.average

    @property
    def disk_full(self) -> bool:
        """Whether publishes are refused because there is no room."""
        return self._writer.room.full

    @property
    def remembered_ids(self) -> int:
        """How many of the newest positions are within the window in which repeats are refused."""
        return self.head - self._appender.floor

    def submit(self, append: Append) -> asyncio.Future[Appended]:
        """Stores a checked publish, all or none; done when it is on the disk. VersionConflict, DiskFull, QueueFull, Closed."""
        return self._writer.append(append)

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Runs SQL of a store in the writer's next transaction; returns when it is on the disk."""
        return await self._writer.run(job)

    async def query(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs SQL of a store in a reader's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(self._reader()))

    async def read_stored(self, after: int, wanted: bytes | None, max_bytes: int) -> Chunk:
        """As read(), from the disk."""
        max_bytes, head = max_bytes or self._settings.read_bytes, self.head
        if wanted is None:
            chunk = await self.query(lambda connection: _read(connection, after, max_bytes, head))
        else:
            chunk = await self._scan(after, wanted, max_bytes, head)
        # where nothing is kept up to the head there is nothing to wait for
        return chunk if chunk.scanned > after else Chunk((), head)

    def read_now(self, after: int, wanted: bytes | None = None, max_bytes: int = 0) -> Chunk | None:
        """As read(), when nothing has to be asked of the disk; else None."""
        if after >= self.head:
            return Chunk((), after)
        self.check_start(after)
        # with a filter most of what is looked at is not sent; but meanwhile nobody else is served
        looked = max_bytes or self._settings.read_bytes if wanted is None else self._settings.scan_bytes // 4
        batches = self._recent.after(after, looked, _BATCHES_AT_A_TIME)
        if batches is None:
            return None
        slices = (part for batch in batches if (part := cut(batch, after, wanted)))
        return Chunk(
            list(slices if wanted is None or len(batches) == 1 else together(slices)), batches[-1].last if batches else after
        )

    def in_memory(self, after: int) -> bool:
        """Whether read() finds what stands beyond a position in memory."""
        return self._recent.after(after, 1) is not None

    async def events(self, positions: Iterable[int]) -> dict[int, Event]:
        """The events at some positions, those that are kept, each with its position."""
        wanted = sorted(positions)
        found: dict[int, Event] = {}
        while wanted:
            batch = await self._batch_of(wanted[0])
            if batch is None:
                wanted.pop(0)
                continue
            events, kinds = batch.decode(), batch.type_ids()
            for position in [p for p in wanted if p <= batch.last and kinds[p - batch.position] != GONE]:
                found[position] = events[position - batch.position]
                found[position].position = position
            wanted = [p for p in wanted if p > batch.last]
        return found

    async def time_of(self, position: int) -> datetime | None:
        """When the event at a position was stored; None when there is none."""
        if not 0 < position <= self.head:
            return None
        recent = self._recent.after(position - 1, 1)
        stored = recent[0].time_us if recent else await self.query(lambda connection: batch_store.time_of(connection, position))
        return from_us(stored) if stored is not None else None

    async def position_before(self, moment: datetime) -> int:
        """The position after which everything was stored at or after a time."""
        found = await self.query(lambda connection: batch_store.position_before(connection, to_us(moment)))
        # what stands beyond the head is committed, but nobody has been told of it yet; what is about to be deleted is gone for all
        return min(max(found, (self.first or 1) - 1), self.head)

    async def upkeep(self, keep_from: KeepFrom) -> int:
        """Applies retention and the uniqueness window; nothing at or beyond `keep_from` is deleted. Returns the events deleted."""
        return await self._upkeep.retain(keep_from)

    async def erase(self, subject: str) -> int:
        """Takes every event of a subject out of the log and what subscriptions keep of it, from the file too; returns how many."""
        return await self._upkeep.erase(subject)

    async def compact(self, patterns: Sequence[str], min_age: timedelta, keep_from: KeepFrom) -> int:
        """Keeps of each subject only the newest event of each type named. Returns the number of events that are gone."""
        return await self._upkeep.compact(patterns, min_age, keep_from)

    async def backup(self, target: Path) -> None:
        """Copies the whole log to another file while it is in use."""
        await self.query(lambda connection: file_store.backup(connection, target))

    def _committed(self, committed: Committed) -> None:
        for batch in committed.batches:
            self._recent.add(batch)
            self.published += batch.count
        self.duplicates += committed.duplicates
        if committed.head != self.head:
            self.grow(committed.head)

    async def _scan(self, after: int, wanted: bytes, max_bytes: int, head: int) -> Chunk:
        search = scanning.Search(after, wanted, max_bytes, self._settings.scan_bytes, head)
        return await self.query(lambda connection: scanning.scan(connection, self._beside, self._settings.read_threads, search))

    def _beside(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Has another reader's thread do something."""
        return self._pool.submit(lambda: work(self._reader()))

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = file_store.connect(self.path, readonly=True, mmap_bytes=self._settings.mmap_bytes)
            self._local.connection = connection
            self._connections.append(connection)
        return connection

    async def _batch_of(self, position: int) -> Batch | None:
        recent = self._recent.after(position - 1, 1)
        if recent and recent[0].position <= position:
            return recent[0]
        return await self.query(lambda connection: batch_store.read_batch(connection, position))


def _read(connection: sqlite3.Connection, after: int, max_bytes: int, head: int) -> Chunk:
    """Reads on from the disk; what stands beyond the head is committed, but the loop has not been told of it yet: nobody is."""
    batches = [batch for batch in batch_store.read_batches(connection, after, max_bytes) if batch.last <= head]
    slices = together(part for batch in batches if (part := cut(batch, after, None)))
    return Chunk(list(slices), batches[-1].last if batches else after)
