"""What the bus stands on, as two interfaces: a log of events, and a store of where each subscription stands.

Everything above them (followers, dealing, filters, dead letters) is one code for all ways; SQLite and JetStream implement them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from bus.batches import Appended
from bus.dealing import Changes, Retry
from bus.log import Chunk
from bus.ranges import AckState


class EventLog(Protocol):
    """A durable, totally ordered log. Positions grow from 1; what append() gave back is on the disk."""

    durability: pb.PublishResponse.Durability.ValueType
    way: str
    ended: bool
    published: int
    duplicates: int
    types_version: int

    @property
    def head(self) -> int:
        """Position of the newest event; 0 when there was never one."""

    @property
    def first(self) -> int:
        """Oldest position that is kept; 0 when none is."""

    @property
    def commits(self) -> int:
        """Commits since the log was opened."""

    @property
    def size_bytes(self) -> int:
        """Bytes that the log takes on the disk."""

    async def append(self, events: Sequence[Event], expected: Mapping[str, int] | None = None) -> Appended:
        """Stores checked events, all or none; VersionConflict, DiskFull, QueueFull, Closed."""

    async def read(self, after: int, types: frozenset[int] | None = None, max_bytes: int = 0) -> Chunk:
        """Batches with events beyond a position; `types` (ids) may leave out those without them. BeforeRetention, CorruptBatch."""

    async def events(self, positions: Iterable[int]) -> dict[int, Event]:
        """The events at some positions, those that are kept, each with its position."""

    def type_ids(self, wanted: Callable[[str], bool]) -> frozenset[int]:
        """The ids of the known types that are wanted; ask again when `types_version` has grown."""

    def check_start(self, after: int) -> None:
        """BeforeRetention or PastTheEnd when reading cannot begin after a position."""

    async def wait_beyond(self, position: int, seconds: float | None) -> bool:
        """Waits until the head is beyond a position, at most so long; False when it was in vain."""

    def end_waits(self) -> None:
        """Ends everyone's waiting for more, for good: the bus drains."""

    async def time_of(self, position: int) -> datetime | None:
        """When the event at a position was stored; None when it is not kept."""

    async def position_before(self, moment: datetime) -> int:
        """The position after which everything was stored at or after a time."""

    async def upkeep(self, keep_from: int) -> int:
        """Applies retention and the uniqueness window; nothing at or beyond `keep_from` is deleted. Returns the events deleted."""

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

    async def retries(self, name: str, seconds_of: Callable[[int], float]) -> list[Retry]:
        """Events that wait for another delivery; `seconds_of` turns their stored due time into the dealer's."""

    async def kept_event(self, name: str, position: int) -> bytes | None:
        """The event that a redriven dead letter brought along; None when the log has it."""

    async def apply(
        self, name: str, floor: int, ranges: bytes, changes: Changes, us_of: Callable[[float], int], now_us: int
    ) -> None:
        """Writes what a dealer gathered: acks, retries and dead letters together."""

    async def dead_letters(self, name: str, after: int, limit: int) -> Sequence[StoredDeadLetter]:
        """Dead letters beyond a position, oldest first."""

    async def dead_letter_counts(self) -> Mapping[str, int]:
        """How many dead letters each subscription keeps; those without any are left out."""

    async def redrive(self, name: str, positions: Sequence[int] | None, now_us: int) -> list[Retry]:
        """Turns dead letters (None: all) into retries with fresh attempts, each exactly once."""

    async def drop(self, name: str, positions: Sequence[int] | None) -> int:
        """Drops dead letters (None: all) for good; returns how many."""
