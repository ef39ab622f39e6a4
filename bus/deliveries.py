"""What a subscription's dealing speaks of: its policy, events that are out or wait, and what has to be written down.

Times are seconds of a clock that only grows.
"""

from dataclasses import dataclass, field

PARKED = "parked"
MAX_DELIVERIES = "max_deliveries"
FILTER_FAILED = "filter_failed"
DEADLINE_PASSED = "the ack deadline passed"
STREAM_BROKE = "the member's stream broke"
# of the error of an event that waits for its next delivery; its dead letter has the last one whole
LONGEST_RETRY_ERROR = 512
# deadlines of what is settled that may stay in memory, beside twice as many as there is unsettled
SETTLED_DEADLINES = 1000


@dataclass(frozen=True)
class Policy:
    """The rules of one subscription, in seconds. `backoff[n]` is the wait after delivery n + 1, and the last one repeats."""

    ack_deadline: float = 30.0
    backoff: tuple[float, ...] = (1.0,)
    max_deliveries: int = 10
    max_in_flight: int = 1000
    order_by_subject: bool = True
    keep_dead_letters: bool = True

    def wait_after(self, attempts: int) -> float:
        """How long to wait after the delivery number `attempts`, from 1."""
        return self.backoff[min(attempts, len(self.backoff)) - 1]


@dataclass(slots=True)
class Entry:
    """An event that is known and not settled."""

    position: int
    subject: str
    attempts: int = 0
    due: float = 0.0
    error: str = ""
    holder: int | None = None
    deadline: float = 0.0
    # not sent yet, or sent when its member had got this position or a higher one: no acknowledgement up to a position means it
    late: bool = True
    queued: bool = False
    recorded: bool = False


@dataclass(frozen=True)
class Retry:
    """An event that waits for its next delivery."""

    position: int
    subject: str
    attempts: int
    due: float
    error: str
    # the wait that a member asked for; 0 when it follows the backoff
    asked: float = 0.0
    # a dead letter that is given out again, and brings its event along
    redriven: bool = False


@dataclass(frozen=True)
class Dead:
    """An event that became a dead letter."""

    position: int
    subject: str
    reason: str
    attempts: int
    error: str


@dataclass
class Changes:
    """What has to be written in one transaction."""

    retries: dict[int, Retry] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set)
    dead: dict[int, Dead] = field(default_factory=dict)
    settled: int = 0
    acked: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.settled or self.retries or self.forgotten or self.dead)

    def count(self, token: int, acked: int) -> None:
        """So many acknowledgements of a token's are to be on the disk."""
        self.settled += acked
        self.acked[token] = self.acked.get(token, 0) + acked

    def wait(self, entry: Entry, asked: float | None) -> None:
        """An event waits for its next delivery."""
        error = entry.error[:LONGEST_RETRY_ERROR]
        self.retries[entry.position] = Retry(entry.position, entry.subject, entry.attempts, entry.due, error, asked or 0.0)

    def forget(self, entry: Entry) -> None:
        """An event that is out of the way waits no more."""
        self.retries.pop(entry.position, None)
        if entry.recorded:
            self.forgotten.add(entry.position)

    def bury(self, dead: Dead, *, keep: bool) -> None:
        """An event is settled for good; its dead letter is kept, or not."""
        if keep:
            self.dead[dead.position] = dead
        self.settled += 1

    def add(self, later: "Changes") -> None:
        """Takes in what was gathered later."""
        for position in later.forgotten:
            self.retries.pop(position, None)
        # what is forgotten is written before what waits: a later retry of it stands
        self.forgotten |= later.forgotten
        self.retries |= later.retries
        self.dead |= later.dead
        self.settled += later.settled
        for token, count in later.acked.items():
            self.acked[token] = self.acked.get(token, 0) + count
