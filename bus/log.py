"""The durable log: append, read, wait for more; retention, backup and verify. All SQL is in the stores."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from bus import batch_store, file_store, key_store, removal, scanning, subscription_store, type_store, upgrade
from bus.appending import Appender
from bus.ballast import Ballast
from bus.batches import GONE, Append, Appended, Batch
from bus.checkpointing import Checkpointer
from bus.filters import Filter
from bus.intake import Intake
from bus.lock import Lock
from bus.recent import Recent
from bus.settings import BusSettings, retention_of_types
from bus.slices import Chunk, cut, together
from bus.writer import Committed, Writer, end_process
from mesh import contracts
from mesh.clock import Clock, SystemClock, from_us, to_us

T = TypeVar("T")
_CUTS_AT_A_TIME = 32
_PAGES_AT_A_TIME = 512
# of those in memory, that one reader looks at while everybody else waits
_BATCHES_AT_A_TIME = 1000


class BeforeRetention(Exception):
    """A start before what is kept; `first` and `head` are the range that stands."""

    def __init__(self, first: int, head: int) -> None:
        super().__init__(f"the log keeps positions {first} to {head}")
        self.first = first
        self.head = head


class PastTheEnd(BeforeRetention):
    """A start after the newest event."""


class Log:
    """One log in one file. Positions grow by one from 1; what append() gave back is on the disk."""

    def __init__(self, path: Path, settings: BusSettings, clock: Clock) -> None:
        self.path = path
        self._settings = settings
        self._clock = clock
        self._recent = Recent(settings.recent_bytes)
        self._moved = asyncio.Event()
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(settings.read_threads, thread_name_prefix="bus reader")
        self._lock: Lock
        self._appender: Appender
        self._writer: Writer
        self._checkpointer: Checkpointer
        self.ended = False
        self.head = 0
        self.first = 0
        self.published = 0
        self.duplicates = 0
        self.removed = 0
        self.filter_failures = 0
        self.reading_ahead = 0
        self.on_growth: list[Callable[[], None]] = []
        self._types: Sequence[tuple[int, str, str]] = ()
        self.intake: Intake
        self.durability: pb.PublishResponse.Durability.ValueType = pb.PublishResponse.DURABILITY_FSYNC
        self.way = "sqlite"

    @classmethod
    async def open(
        cls,
        path: Path,
        settings: BusSettings | None = None,
        clock: Clock | None = None,
        on_failure: Callable[[BaseException], None] = end_process,
    ) -> Self:
        """Opens or makes the file; recovery of what a crash left is SQLite's and is done when this returns. InUse, CorruptBatch."""
        settings, clock = settings or BusSettings(), clock or SystemClock()
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(path)
        log = cls(path, settings, clock)
        log._lock = lock
        connection = file_store.connect(path)
        try:
            file_store.migrate(connection, upgrade.UPGRADES)
            type_store.add_event_types(connection, [(entry.type, entry.owner) for entry in contracts.catalogue().values()])
            log._types = type_store.event_types(connection)
            log.intake = Intake(log._types, settings.max_event_bytes)
            appender = Appender(connection, _sources(log._types), settings.coalesce_bytes, settings.unique_count)
            log.head = appender.head
            log.first = batch_store.first_position(connection)
        except BaseException:
            connection.close()
            lock.release()
            raise
        log._appender = appender
        ballast = Ballast(path.with_name(path.name + "-ballast"), settings.ballast_bytes, path)
        log._writer = Writer(connection, ballast, appender, settings, clock, log._committed, on_failure)
        log._checkpointer = Checkpointer(path, ballast, settings, log._writer.before_next, on_failure)
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
        return self._writer.disk_full

    @property
    def remembered_ids(self) -> int:
        """How many of the newest positions are within the window in which repeats are refused."""
        return self.head - self._appender.floor

    def submit(self, append: Append) -> asyncio.Future[Appended]:
        """Stores a checked publish, all or none; done when it is on the disk. VersionConflict, DiskFull, QueueFull, Closed."""
        return self._writer.append(append)

    async def publish(self, events: Sequence[Event], expected: Mapping[str, int] | None = None) -> Appended:
        """Checks events by the bus's own rules and stores them, all or none; returns when they are on the disk."""
        return await self.submit(self.intake.events(events, expected or {}))

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Runs SQL of a store in the writer's next transaction; returns when it is on the disk."""
        return await self._writer.run(job)

    async def query(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs SQL of a store in a reader's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(self._reader()))

    def check_start(self, after: int) -> None:
        """BeforeRetention or PastTheEnd when reading cannot begin after a position; 0 is the beginning of what is kept."""
        first = self.first or self.head + 1
        if 0 < after < first - 1:
            raise BeforeRetention(first, self.head)
        if after > self.head:
            raise PastTheEnd(first, self.head)

    async def read(self, after: int, wanted: bytes | None = None, max_bytes: int = 0) -> Chunk:
        """Events beyond a position, from memory when they are new enough; `wanted` is what wanted_types() gave.

        At the head the chunk is empty. BeforeRetention when events beyond the position are gone; CorruptBatch when stored bytes are
        not what was written.
        """
        # memory may still hold what retention has deleted, and the disk nothing at all
        after = after or (self.first or self.head + 1) - 1
        chunk = self.read_now(after, wanted, max_bytes)
        if chunk is not None:
            return chunk
        max_bytes, head = max_bytes or self._settings.read_bytes, self.head
        if wanted is None:
            chunk = await self.query(lambda connection: _read(connection, after, max_bytes, head))
        else:
            chunk = await self._scan(after, wanted, max_bytes, head)
        # where nothing is kept up to the head there is nothing to wait for
        return chunk if chunk.scanned > after else Chunk((), head)

    async def _scan(self, after: int, wanted: bytes, max_bytes: int, head: int) -> Chunk:
        search = scanning.Search(after, wanted, max_bytes, self._settings.scan_bytes, head)
        return await self.query(lambda connection: scanning.scan(connection, self._beside, self._settings.read_threads, search))

    def _beside(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Has another reader's thread do something."""
        return self._pool.submit(lambda: work(self._reader()))

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

    def may_read_ahead(self) -> bool:
        """Whether one more reader may read ahead."""
        return self.reading_ahead < self._settings.read_ahead

    def wanted_types(self, wanted: Filter) -> bytes | None:
        """Which types a filter wants, one byte for each type number; None when it wants all."""
        if wanted.every_type:
            return None
        return self._table(wanted)

    def _table(self, wanted: Filter) -> bytes:
        table = bytearray(1 + max((number for number, _, _ in self._types), default=0))
        for number, name, source in self._types:
            table[number] = wanted.wants_type(name, source)
        return bytes(table)

    async def event(self, position: int) -> Event | None:
        """One event with its position; None when it is not kept."""
        return (await self.events([position])).get(position)

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

    async def wait_beyond(self, position: int, seconds: float | None) -> bool:
        """Waits until the head is beyond a position, at most so long (None: for ever); False when it was in vain."""
        if seconds is None:
            # asked after each commit: without the price of a timer
            while self.head <= position and not self.ended:
                await self._moved.wait()
            return self.head > position
        try:
            async with asyncio.timeout(seconds):
                while self.head <= position and not self.ended:
                    await self._moved.wait()
        except TimeoutError:
            return False
        return self.head > position

    def end_waits(self) -> None:
        """Ends everyone's waiting for more, for good: the bus drains."""
        self.ended = True
        self._moved.set()

    async def time_of(self, position: int) -> datetime | None:
        """When the event at a position was stored; None when there is none."""
        if not 0 < position <= self.head:
            return None
        recent = self._recent.after(position - 1, 1)
        stored = recent[0].time_us if recent else await self.query(lambda connection: batch_store.time_of(connection, position))
        return from_us(stored) if stored is not None else None

    async def age_of(self, position: int) -> timedelta:
        """How long ago the event at a position was stored; zero when there is none."""
        stored = await self.time_of(position)
        return max(self._clock.now() - stored, timedelta(0)) if stored else timedelta(0)

    async def position_before(self, moment: datetime) -> int:
        """The position after which everything was stored at or after a time."""
        return await self.query(lambda connection: batch_store.position_before(connection, to_us(moment)))

    async def upkeep(self, keep_from: int) -> int:
        """Applies retention and the uniqueness window; nothing at or beyond `keep_from` is deleted. Returns the events deleted."""
        # the plan goes by the tables, and on a quiet log ids grow old that are not in them yet
        await self._writer.run(lambda _: None, noted=True)
        cut, forget = await self.query(lambda connection: self._plan(connection, keep_from))
        # who reads on must be told that positions are gone before they are
        self.first = max(self.first, cut + 1) if cut else self.first
        self._appender.forget(forget)
        deleted = await self._writer.run(lambda connection: self._delete(connection, cut, forget), noted=True)
        self._recent.drop(cut)
        now = self._clock.now()
        for pattern, age in retention_of_types(self._settings.retention_types):
            wanted = self._table(Filter((pattern,)))
            deleted += await self.remove(removal.expired(wanted, to_us(now - age), keep_from))
        await self._delete_gone(keep_from)
        return deleted

    async def _delete_gone(self, keep_from: int) -> None:
        """Deletes the oldest batches of which nothing is left; whoever still reads before `keep_from` would take them for a gap."""
        gone = await self.query(lambda connection: batch_store.gone_up_to(connection, keep_from))
        if gone:
            self.first = max(self.first, gone + 1)
            await self._writer.run(lambda connection: self._delete(connection, gone, 0), noted=True)
            self._recent.drop(gone)

    async def erase(self, subject: str) -> int:
        """Takes every event of a subject out of the log and what subscriptions keep of it, from the file too; returns how many."""
        removed = await self.remove(removal.of_subject(subject), overwrite=True)
        await self._writer.run(lambda connection: self._forget_subject(connection, subject), noted=True)
        # and so may pages that are free since something else was deleted, and the write-ahead log
        while await self.run(partial(file_store.overwrite_free_pages, most=_PAGES_AT_A_TIME)):
            pass
        await self.run(file_store.forget_overwritten)
        await self._checkpointer.truncate()
        return removed

    async def compact(self, patterns: Sequence[str], min_age: timedelta, keep_from: int) -> int:
        """Keeps of each subject only the newest event of each type named. Returns the number of events that are gone."""
        removed = 0
        before = to_us(self._clock.now() - min_age) + 1
        for pattern in patterns:
            wanted = self._table(Filter((pattern,)))
            removed += await self.remove(removal.superseded(wanted, before, keep_from, self._settings.compact_subjects))
        return removed

    async def remove(self, find: removal.Finder, *, overwrite: bool = False) -> int:
        """Takes out what is found, some batches in a transaction; returns the number of events."""
        cuts = await self.query(lambda connection: list(find(connection)))
        for start in range(0, len(cuts), _CUTS_AT_A_TIME):
            part = cuts[start : start + _CUTS_AT_A_TIME]
            for batch in await self._writer.run(partial(self._remove, cuts=part, overwrite=overwrite), noted=True):
                self._recent.replace(batch)
        removed = sum(len(cut.indexes) for cut in cuts)
        self.removed += removed
        return removed

    async def backup(self, target: Path) -> None:
        """Copies the whole log to another file while it is in use (SQLite's online backup)."""
        await self.query(lambda connection: file_store.backup(connection, target))

    def _plan(self, connection: sqlite3.Connection, keep_from: int) -> tuple[int, int]:
        """Up to where batches, and ids, have to go."""
        now, settings = self._clock.now(), self._settings
        # not by the times of the batches: ids are remembered longer than those
        too_old = key_store.ids_before(connection, to_us(now - settings.unique_age))
        forget = max(too_old, batch_store.head(connection)[0] - settings.unique_count, 0)
        cut = 0
        if settings.retention_age:
            cut = batch_store.position_before(connection, to_us(now - settings.retention_age))
        if settings.retention_count:
            cut = max(cut, self.head - settings.retention_count)
        if settings.retention_bytes:
            cut = max(cut, batch_store.last_beyond_bytes(connection, settings.retention_bytes))
        return batch_store.batch_end(connection, min(cut, keep_from - 1)), forget

    def _remove(self, connection: sqlite3.Connection, cuts: Sequence[removal.Cut], *, overwrite: bool) -> list[Batch]:
        with file_store.overwriting_deleted(connection, on=overwrite):
            return removal.apply(connection, cuts)

    def _delete(self, connection: sqlite3.Connection, cut: int, forget: int) -> int:
        if forget:
            key_store.forget_ids(connection, forget)
        if not cut:
            return 0
        return batch_store.delete_batches(connection, cut)

    def _forget_subject(self, connection: sqlite3.Connection, subject: str) -> None:
        with file_store.overwriting_deleted(connection, on=True):
            subscription_store.erase_subject(connection, subject)
            self._appender.forget_subject(subject)

    async def _batch_of(self, position: int) -> Batch | None:
        recent = self._recent.after(position - 1, 1)
        if recent and recent[0].position <= position:
            return recent[0]
        return await self.query(lambda connection: batch_store.read_batch(connection, position))

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = file_store.connect(self.path, readonly=True, mmap_bytes=self._settings.mmap_bytes)
            self._connections.append(connection)
        return connection

    def _committed(self, committed: Committed) -> None:
        for batch in committed.batches:
            self._recent.add(batch)
            self.published += batch.count
        self.duplicates += committed.duplicates
        if committed.head == self.head:
            return
        self.first = self.first or committed.batches[0].position
        self.head = committed.head
        # who waits is woken, and who comes next waits
        self._moved.set()
        self._moved.clear()
        for told in self.on_growth:
            told()


def _sources(types: Sequence[tuple[int, str, str]]) -> Sequence[int]:
    """For each type number the number of its source; these numbers live as long as the process."""
    numbers: dict[str, int] = {}
    table = [0] * (1 + max((number for number, _, _ in types), default=0))
    for number, _, source in types:
        table[number] = numbers.setdefault(source, len(numbers))
    return table


def _read(connection: sqlite3.Connection, after: int, max_bytes: int, head: int) -> Chunk:
    """Reads on from the disk; what stands beyond the head is committed, but the loop has not been told of it yet: nobody is."""
    batches = [batch for batch in batch_store.read_batches(connection, after, max_bytes) if batch.last <= head]
    slices = together(part for batch in batches if (part := cut(batch, after, None)))
    return Chunk(list(slices), batches[-1].last if batches else after)
