"""What the bus stands on, as two interfaces: a log of events, and a store of where each subscription stands; and how they refuse.

Everything above them (followers, dealing, filters, dead letters) is one code for all ways; SQLite and JetStream implement them.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from bus.batches import Append, Appended
from bus.deliveries import Changes, Retry
from bus.filters import Filter
from bus.intake import Intake
from bus.ranges import AckState
from bus.settings import BusSettings
from bus.slices import Chunk
from mesh.clock import Clock

T = TypeVar("T")
# the first position that somebody still needs, asked anew before each part that goes
KeepFrom = Callable[[], int]
# how often a read is begun anew before what leaves the log has to wait for it
_DISTURBED = 3


class BeforeRetention(Exception):
    """A start before what is kept; `first` and `head` are the range that stands."""

    def __init__(self, first: int, head: int) -> None:
        super().__init__(f"the log keeps positions {first} to {head}")
        self.first = first
        self.head = head


class PastTheEnd(BeforeRetention):
    """A start after the newest event."""


class DiskFull(Exception):
    """There is no room for a write; nothing of it was stored."""


class QueueFull(Exception):
    """Too many writes wait for the disk already."""


class NoSubscription(Exception):
    """There is no subscription of this name any more."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Closed(Exception):
    """The log is closed or closing."""


class EventLog(ABC):
    """A durable, totally ordered log. Positions grow from 1; what submit() gave back is on the disk.

    What is the same for every way stands here. `types` are the log's numbers for event types: (number, type, source).
    """

    way: str

    def __init__(self, types: Sequence[tuple[int, str, str]], settings: BusSettings, clock: Clock) -> None:
        self._type_numbers = types
        self._settings = settings
        self._clock = clock
        self._moved = asyncio.Event()
        self.intake = Intake(types, settings.max_event_bytes)
        self.durability: pb.PublishResponse.Durability.ValueType = pb.PublishResponse.DURABILITY_FSYNC
        # position of the newest event; 0 when there was never one. Everybody asks again and again: a property would be a call each
        self.head = 0
        # oldest position that is kept; 0 when none is
        self.first = 0
        # whether the bus drains
        self.ended = False
        # called in the loop each time when the head has moved
        self.on_growth: list[Callable[[], None]] = []
        self.published = 0
        self.duplicates = 0
        self.removed = 0
        # how often something left the log, or what is kept of it, before its time: what was read before is not told any more
        self.left = 0
        # held while something leaves
        self.leaving = asyncio.Lock()
        self.filter_failures = 0
        self.reading_ahead = 0

    @property
    @abstractmethod
    def commits(self) -> int:
        """Commits since the log was opened."""

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """Bytes that the log takes on the disk."""

    @property
    @abstractmethod
    def remembered_ids(self) -> int:
        """How many of the newest positions are within the window in which repeats are refused."""

    @property
    @abstractmethod
    def commit_seconds(self) -> float:
        """How long a commit takes now (moving average)."""

    @property
    @abstractmethod
    def disk_full(self) -> bool:
        """Whether publishes are refused because there is no room."""

    @abstractmethod
    def submit(self, append: Append) -> asyncio.Future[Appended]:
        """Stores a checked publish, all or none; done when it is on the disk. VersionConflict, DiskFull, QueueFull, Closed."""

    async def publish(self, events: Sequence[Event], expected: Mapping[str, int] | None = None) -> Appended:
        """Checks events by the bus's own rules and stores them, all or none; returns when they are on the disk."""
        return await self.submit(self.intake.events(events, expected or {}))

    def grow(self, head: int) -> None:
        """The head has moved: whoever waits is woken, and who comes next waits."""
        self.first = self.first or self.head + 1
        self.head = head
        self._moved.set()
        self._moved.clear()
        for told in self.on_growth:
            told()

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

    def check_start(self, after: int) -> None:
        """BeforeRetention or PastTheEnd when reading cannot begin after a position; 0 is the beginning of what is kept."""
        first = self.first or self.head + 1
        if 0 < after < first - 1:
            raise BeforeRetention(first, self.head)
        if after > self.head:
            raise PastTheEnd(first, self.head)

    def wanted_types(self, wanted: Filter) -> bytes | None:
        """Which types a filter wants, one byte for each type number; None when it wants all."""
        return None if wanted.every_type else wanted.table(self._type_numbers)

    async def read(self, after: int, wanted: bytes | None = None, max_bytes: int = 0) -> Chunk:
        """Events beyond a position, from memory when they are new enough; `wanted` is what wanted_types() gave.

        At the head the chunk is empty. BeforeRetention when events beyond the position are gone, also when they went meanwhile:
        what was read then may lack them. CorruptBatch when stored bytes are not what was written.
        """
        while True:
            # memory may still hold what retention has deleted, and the disk nothing at all
            start = after or (self.first or self.head + 1) - 1
            chunk = self.read_now(start, wanted, max_bytes)
            if chunk is not None:
                return chunk
            chunk = await self.read_stored(start, wanted, max_bytes)
            if start >= (self.first or self.head + 1) - 1:
                return chunk
            if after:
                self.check_start(after)

    @abstractmethod
    async def read_stored(self, after: int, wanted: bytes | None, max_bytes: int) -> Chunk:
        """As read(), for what is not in memory."""

    @abstractmethod
    def read_now(self, after: int, wanted: bytes | None = None, max_bytes: int = 0) -> Chunk | None:
        """As read(), when nothing has to be waited for; else None."""

    @abstractmethod
    def in_memory(self, after: int) -> bool:
        """Whether read() finds what stands beyond a position in memory."""

    def may_read_ahead(self) -> bool:
        """Whether one more reader may read ahead."""
        return self.reading_ahead < self._settings.read_ahead

    async def undisturbed(self, read: Callable[[], Awaitable[T]]) -> T:
        """What a read gives while nothing leaves the log: after an erase was answered nobody is given what it took."""
        for _ in range(_DISTURBED):
            left = self.left
            found = await read()
            if left == self.left:
                return found
        # whoever erases one subject after the other waits for a reader that waited for him
        async with self.leaving:
            return await read()

    @abstractmethod
    async def events(self, positions: Iterable[int]) -> dict[int, Event]:
        """The events at some positions, those that are kept, each with its position."""

    @abstractmethod
    async def time_of(self, position: int) -> datetime | None:
        """When the event at a position was stored; None when it is not kept."""

    async def age_of(self, position: int) -> timedelta:
        """How long ago the event at a position was stored; zero when there is none."""
        stored = await self.time_of(position)
        return max(self._clock.now() - stored, timedelta(0)) if stored else timedelta(0)

    @abstractmethod
    async def position_before(self, moment: datetime) -> int:
        """The position after which everything was stored at or after a time."""

    @abstractmethod
    async def upkeep(self, keep_from: KeepFrom) -> int:
        """Applies retention and the uniqueness window; nothing at or beyond `keep_from` is deleted. Returns the events deleted."""

    @abstractmethod
    async def erase(self, subject: str) -> int:
        """Takes every event of a subject out of the log and what subscriptions keep of it. Returns their number."""

    @abstractmethod
    async def compact(self, patterns: Sequence[str], min_age: timedelta, keep_from: KeepFrom) -> int:
        """Keeps of each subject only the newest event of each type named. Returns the number of events that are gone."""

    @abstractmethod
    async def close(self) -> None:
        """Commits what waits, then closes."""


@dataclass(frozen=True)
class Stored:
    """A subscription as it stands on the disk."""

    name: str
    definition: bytes
    paused: bool
    acks: AckState
    create_time_us: int


@dataclass(frozen=True)
class StoredDeadLetter:
    """A dead letter as it stands on the disk; `event` is the encoded event."""

    position: int
    event: bytes
    reason: str
    attempts: int
    error: str
    create_time_us: int


@dataclass(frozen=True)
class Some:
    """The next dead letters beyond a position, of all or of `positions`: so many at most, and bytes of events, one at least."""

    positions: Sequence[int] | None
    after: int
    most: int
    max_bytes: int


class SubscriptionStore(Protocol):
    """Where every subscription stands. A call is atomic, and durable when it returns; DiskFull or QueueFull when it cannot be."""

    async def next_epoch(self) -> int:
        """Counts the starts of this log; fencing tokens begin with it, so that none is ever given twice."""

    async def every(self) -> list[Stored]:
        """Every subscription, by name."""

    async def insert(self, stored: Stored) -> None:
        """Makes a subscription."""

    async def update_definition(self, name: str, definition: bytes) -> None:
        """Replaces a definition."""

    async def set_paused(self, name: str, paused: bool) -> None:
        """Pauses or resumes."""

    async def delete(self, name: str) -> None:
        """Deletes a subscription with its retries and dead letters."""

    async def move(self, name: str, floor: int) -> None:
        """Moves a subscription: everything up to `floor` counts as settled, nothing beyond it; dead letters stay."""

    async def retries(self, name: str, due: Callable[[int, int], float]) -> list[Retry]:
        """Events that wait for another delivery; `due` turns their stored due time and the wait asked for into the dealer's."""

    async def kept_event(self, name: str, position: int) -> bytes | None:
        """The event that a redriven dead letter brought along; None when the log has it."""

    async def apply(
        self, name: str, floor: int, ranges: bytes, changes: Changes, us_of: Callable[[float], int], now_us: int
    ) -> None:
        """Writes what a dealer gathered: acks, retries and dead letters together."""

    async def dead_letters(self, name: str, after: int, limit: int, max_bytes: int) -> Sequence[StoredDeadLetter]:
        """Dead letters beyond a position, oldest first: two at least, and no more once their events take more than `max_bytes`."""

    async def dead_letter_counts(self) -> Mapping[str, int]:
        """How many dead letters each subscription keeps; those without any are left out."""

    async def redrive(self, name: str, some: Some, now_us: int) -> list[Retry]:
        """Turns dead letters into retries with fresh attempts, each exactly once; in one write."""

    async def drop(self, name: str, positions: Sequence[int] | None) -> int:
        """Drops dead letters (None: all) for good; returns how many."""
