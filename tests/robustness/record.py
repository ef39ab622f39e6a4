"""What a run saw from outside: the whole input of the validators. Nothing here asks the bus."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tooloo.bus.v1.bus_service_pb2 import FollowResponse, PullResponse


@dataclass(frozen=True)
class Stored:
    """An event of the log as it was read in the end."""

    position: int
    id: str
    subject: str = ""
    type: str = ""


@dataclass(frozen=True)
class Wanted:
    """The model of a filter: what a reader asked for, decided without the bus's own code."""

    types: Sequence[str] = ("*",)
    subject_prefix: str = ""

    def __contains__(self, stored: Stored) -> bool:
        """Whether the filter names this event."""
        named = any(stored.type.startswith(name[:-1]) if name.endswith("*") else stored.type == name for name in self.types)
        return named and stored.subject.startswith(self.subject_prefix)


@dataclass
class Publisher:
    """One publisher that waits for each acknowledgement: ids of every batch it sent, the positions it was told (None: never)."""

    sent: list[list[str]] = field(default_factory=list)
    positions: list[list[int] | None] = field(default_factory=list)

    def send(self, ids: list[str]) -> None:
        """Notes a batch before it is sent."""
        self.sent.append(ids)
        self.positions.append(None)

    def acknowledge(self, positions: Sequence[int]) -> None:
        """Notes where the batch sent last stands."""
        self.positions[-1] = list(positions)

    @property
    def acknowledged(self) -> list[tuple[list[str], list[int]]]:
        """Batches with the positions that were acknowledged."""
        return [(ids, told) for ids, told in zip(self.sent, self.positions, strict=True) if told is not None]


@dataclass(frozen=True)
class Message:
    """One message of a stream: when it came, what it held, and how far it said that everything had been looked at."""

    at: float
    positions: Sequence[int]
    progress: int
    head: int


@dataclass
class Watch:
    """A follower over all its connections: which of them a message came on must not matter."""

    wanted: Wanted = field(default_factory=Wanted)
    after: int = 0
    messages: list[Message] = field(default_factory=list)
    # streams that were given up because they said nothing
    stalls: int = 0

    def hear(self, answer: FollowResponse) -> None:
        """Notes a message of the stream."""
        offsets = answer.offsets or range(len(answer.events))
        positions = [answer.first_position + offset for offset in offsets]
        self.messages.append(Message(time.monotonic(), positions, answer.progress_position, answer.head_position))

    @property
    def progress(self) -> int:
        """How far it was told that everything has been looked at."""
        return max((message.progress for message in self.messages), default=self.after)

    @property
    def positions(self) -> list[int]:
        """Every position it was given, in order."""
        return [position for message in self.messages for position in message.positions]


@dataclass(frozen=True)
class Handled:
    """One delivery to a member of a subscription."""

    position: int
    attempt: int
    at: float = 0.0


@dataclass
class Membership:
    """A subscription as its members lived it, each delivery in the order in which it was handled."""

    wanted: Wanted = field(default_factory=Wanted)
    handled: list[Handled] = field(default_factory=list)
    # floors that the bus told as written, in the order in which they came
    floors: list[int] = field(default_factory=list)
    # positions that ended as dead letters
    dead: list[int] = field(default_factory=list)
    # deliveries with the highest floor that had been told before their stream was opened: (floor, position)
    again: list[tuple[int, int]] = field(default_factory=list)
    # streams that were given up because they said nothing
    stalls: int = 0

    def handle(self, position: int, attempt: int) -> None:
        """Notes a delivery before it is settled, at a time that all processes of the machine share."""
        self.handled.append(Handled(position, attempt, time.monotonic()))

    def hear(self, message: PullResponse, floor_before: int) -> None:
        """Notes a message of a stream that was opened when `floor_before` had been told."""
        self.floors.append(message.ack_floor)
        self.again.extend((floor_before, position) for position in message.positions)
        for position, attempt in zip(message.positions, message.attempts, strict=True):
            self.handle(position, attempt)

    @property
    def floor(self) -> int:
        """The highest floor that was told."""
        return max(self.floors, default=0)

    @property
    def settled(self) -> set[int]:
        """Positions that were handled at least once, or are dead."""
        return {one.position for one in self.handled} | set(self.dead)


@dataclass
class Record:
    """A run: who published, followed and handled what, and the log as it stood in the end."""

    publishers: list[Publisher] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    memberships: list[Membership] = field(default_factory=list)
    log: list[Stored] = field(default_factory=list)
    # longest time without any message that a stream may have had: heartbeat plus every outage, in seconds
    longest_silence: float = float("inf")

    def publisher(self) -> Publisher:
        """Another publisher to record."""
        self.publishers.append(Publisher())
        return self.publishers[-1]

    def watch(self, wanted: Wanted | None = None, after: int = 0) -> Watch:
        """Another follower to record."""
        self.watches.append(Watch(wanted or Wanted(), after))
        return self.watches[-1]

    def membership(self, wanted: Wanted | None = None) -> Membership:
        """Another subscription to record."""
        self.memberships.append(Membership(wanted or Wanted()))
        return self.memberships[-1]
