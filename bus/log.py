"""The durable log: append, read, wait for more; retention, backup and verify. Everything SQL of it is in bus/store.py."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self, TypeVar

from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from bus import store
from bus.batches import Append, Appended, Batch
from bus.recent import Recent
from bus.settings import BusSettings
from bus.writer import Checkpointer, Committed, Writer, end_process
from mesh.clock import Clock, SystemClock, from_us, to_us

T = TypeVar("T")
_HEADERS_AT_A_TIME = 512


class BeforeRetention(Exception):
    """A start before what is kept; `first` and `head` are the range that stands."""

    def __init__(self, first: int, head: int) -> None:
        super().__init__(f"the log keeps positions {first} to {head}")
        self.first = first
        self.head = head


class PastTheEnd(BeforeRetention):
    """A start after the newest event."""


@dataclass(frozen=True)
class Chunk:
    """Some batches of the log, and up to where it has been looked at: batches in between that no wanted type is in are left out."""

    batches: Sequence[Batch]
    scanned: int


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
        self._writer: Writer
        self._checkpointer: Checkpointer
        self.ended = False
        self.head = 0
        self.first = 0
        self.published = 0
        self.duplicates = 0
        self._types: Mapping[str, int] = {}
        self.types_version = 0
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
        """Opens or makes the file; recovery of what a crash left is SQLite's and is done when this returns."""
        settings, clock = settings or BusSettings(), clock or SystemClock()
        path.parent.mkdir(parents=True, exist_ok=True)
        log = cls(path, settings, clock)
        log._writer = Writer(path, settings, clock, log._committed, on_failure)
        log._checkpointer = Checkpointer(path, settings)
        log.head = store.head(log._writer.connection)[0]
        log.first = store.first_position(log._writer.connection)
        log._types = store.event_types(log._writer.connection)
        return log

    async def close(self) -> None:
        """Commits what waits, then closes the file."""
        await self._writer.close()
        await self._checkpointer.close()
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    @property
    def commits(self) -> int:
        """Commits since the log was opened."""
        return self._writer.commits

    @property
    def size_bytes(self) -> int:
        """Bytes of the database file and its write-ahead log."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(path.stat().st_size for path in files if path.exists())

    async def append(self, events: Sequence[Event], expected: Mapping[str, int] | None = None) -> Appended:
        """Stores checked events, all or none; returns when they are on the disk. VersionConflict, DiskFull, QueueFull, Closed."""
        appended = await self._writer.append(Append.of(events, expected))
        self.published += len(appended.positions) - appended.duplicates
        self.duplicates += appended.duplicates
        return appended

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

    async def read(self, after: int, types: frozenset[int] | None = None, max_bytes: int = 0) -> Chunk:
        """Batches with events beyond a position, from memory when they are new enough; `types` (ids) leaves out those without them.

        At the head the chunk is empty. BeforeRetention when events beyond the position are gone; CorruptBatch when stored bytes are
        not what was written.
        """
        # memory may still hold what retention has deleted, and the disk nothing at all
        after = after or (self.first or self.head + 1) - 1
        if after >= self.head:
            return Chunk((), after)
        self.check_start(after)
        max_bytes = max_bytes or self._settings.read_bytes
        batches = self._recent.after(after, max_bytes)
        if batches is None and types is not None:
            return await self.query(lambda connection: _scan(connection, after, types, max_bytes))
        if batches is None:
            batches = await self.query(lambda connection: store.read_batches(connection, after, max_bytes))
        scanned = batches[-1].last if batches else after
        if types is not None:
            batches = [batch for batch in batches if not types.isdisjoint(batch.type_ids())]
        return Chunk(batches, scanned)

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
            events = batch.decode()
            for position in [p for p in wanted if p <= batch.last]:
                found[position] = events[position - batch.position]
                found[position].position = position
            wanted = [p for p in wanted if p > batch.last]
        return found

    async def wait_beyond(self, position: int, seconds: float | None) -> bool:
        """Waits until the head is beyond a position, at most so long (None: for ever); False when it was in vain."""
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
        stored = recent[0].time_us if recent else await self.query(lambda connection: store.time_of(connection, position))
        return from_us(stored) if stored is not None else None

    async def position_before(self, moment: datetime) -> int:
        """The position after which everything was stored at or after a time."""
        return await self.query(lambda connection: store.position_before(connection, to_us(moment)))

    def type_ids(self, wanted: Callable[[str], bool]) -> frozenset[int]:
        """The ids of the known types that are wanted; ask again when `types_version` has grown."""
        return frozenset(number for name, number in self._types.items() if wanted(name))

    async def upkeep(self, keep_from: int) -> int:
        """Applies retention and the uniqueness window; nothing at or beyond `keep_from` is deleted. Returns the events deleted."""
        cut, forget = await self.query(lambda connection: self._plan(connection, keep_from))
        # who reads on must be told that positions are gone before they are
        self.first = max(self.first, cut + 1) if cut else self.first
        return await self.run(lambda connection: _delete(connection, cut, forget))

    async def backup(self, target: Path) -> None:
        """Copies the whole log to another file while it is in use (SQLite's online backup)."""
        await self.query(lambda connection: backup(connection, target))

    def _plan(self, connection: sqlite3.Connection, keep_from: int) -> tuple[int, int]:
        """Up to where batches, and ids, have to go."""
        now, settings = self._clock.now(), self._settings
        too_old = store.position_before(connection, to_us(now - settings.unique_age))
        forget = max(too_old, store.head(connection)[0] - settings.unique_count)
        cut = 0
        if settings.retention_age:
            cut = store.position_before(connection, to_us(now - settings.retention_age))
        if settings.retention_bytes:
            cut = max(cut, store.last_beyond_bytes(connection, settings.retention_bytes))
        return store.batch_end(connection, min(cut, keep_from - 1)), forget

    async def _batch_of(self, position: int) -> Batch | None:
        recent = self._recent.after(position - 1, 1)
        if recent and recent[0].position <= position:
            return recent[0]
        return await self.query(lambda connection: store.read_batch(connection, position))

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = store.connect(self.path, readonly=True)
            self._connections.append(connection)
        return connection

    def _committed(self, committed: Committed) -> None:
        for batch in committed.batches:
            self._recent.add(batch)
        if committed.types is not None:
            self._types = committed.types
            self.types_version += 1
        if committed.head == self.head:
            return
        self.first = self.first or committed.batches[0].position
        self.head = committed.head
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def _delete(connection: sqlite3.Connection, cut: int, forget: int) -> int:
    store.forget_ids(connection, forget)
    return store.delete_batches(connection, cut) if cut else 0


def _scan(connection: sqlite3.Connection, after: int, types: frozenset[int], max_bytes: int) -> Chunk:
    """Looks through the type ids alone and reads the batches that hold a wanted one."""
    found: list[Batch] = []
    size = 0
    headers = store.read_headers(connection, after, _HEADERS_AT_A_TIME)
    scanned = after
    for position, last, encoded in headers:
        scanned = last
        if types.isdisjoint(Batch(position, last, 0, encoded, b"").type_ids()):
            continue
        batch = store.read_batch(connection, position)
        if batch:
            found.append(batch)
            size += len(batch.events)
        if size >= max_bytes:
            break
    return Chunk(found, scanned)


def backup(connection: sqlite3.Connection, target: Path) -> None:
    """Copies an open database to a file."""
    copy = sqlite3.connect(target)
    try:
        connection.backup(copy)
    finally:
        copy.close()
