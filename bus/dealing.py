"""How a subscription deals its events out: leases, order by subject, retries and dead letters, as a state machine without I/O.

Times are seconds of a clock that only grows and are always given by the caller. What must reach the disk gathers in `changes`.
"""

import heapq
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bus.ranges import AckState

PARKED = "parked"
MAX_DELIVERIES = "max_deliveries"
FILTER_FAILED = "filter_failed"
DEADLINE_PASSED = "the ack deadline passed"
STREAM_BROKE = "the member's stream broke"


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


class Dealer:
    """The deliveries of one subscription. A lease belongs to a token; only its holder can acknowledge, give back or extend.

    Every position at or below `cursor` is settled or an entry; scanned() moves the cursor.
    """

    def __init__(self, policy: Policy, acks: AckState) -> None:
        self.policy = policy
        self.acks = acks
        self.cursor = acks.floor
        self.changes = Changes()
        self.in_flight = 0
        self.redeliveries = 0
        self._entries: dict[int, Entry] = {}
        self._carried: dict[int, Retry] = {}
        self._ready: list[int] = []
        self._waiting: list[tuple[float, int]] = []
        self._deadlines: list[tuple[float, int]] = []
        self._lanes: dict[str, list[int]] = {}
        self._held: dict[int, set[int]] = {}

    @property
    def unsettled(self) -> int:
        """Known events that are not settled: out, waiting, or behind another of their subject."""
        return len(self._entries)

    @property
    def oldest_unsettled(self) -> int:
        """The lowest position that is not settled; beyond the log's head when everything is."""
        redriven = min((p for p in self._entries if p <= self.acks.floor), default=None)
        return redriven if redriven is not None else self.acks.floor + 1

    def carry(self, retries: Iterable[Retry]) -> None:
        """Takes over retries that are on disk: after a restart, or because dead letters are given out again.

        Those beyond the cursor wait until the scan reaches them, so that order within a subject is kept.
        """
        for retry in retries:
            if retry.position > self.cursor:
                self._carried[retry.position] = retry
            elif retry.position not in self._entries:
                self._restore(retry)

    def scanned(self, last: int, wanted: Sequence[tuple[int, str]], failures: Mapping[int, str] | None = None) -> None:
        """Moves the cursor to `last`: the wanted (position, subject) pairs up to there are dealt out, all else there is settled.

        Those among them that the filter failed on (`failures`: position -> error) are parked without a delivery, unless they were
        redriven: whoever does that wants to see them.
        """
        start = self.cursor + 1
        for position, subject in wanted:
            carried = self._carried.pop(position, None)
            if position <= self.cursor or (position in self.acks and not carried):
                continue
            if failures and position in failures and not carried:
                self._park_unseen(position, subject, failures[position])
                continue
            self.acks.settle(start, position - 1)
            start = position + 1
            if carried:
                self._restore(carried)
            else:
                self._add(Entry(position, subject))
        self.acks.settle(start, last)
        self.cursor = last

    def take(self, token: int, limit: int, now: float) -> list[Entry]:
        """Leases up to `limit` events to the token, in the order of their positions."""
        self._wake(now)
        limit = min(limit, self.policy.max_in_flight - self.in_flight)
        taken: list[Entry] = []
        while len(taken) < limit and self._ready:
            entry = self._entries.get(heapq.heappop(self._ready))
            if entry is None or not entry.queued:
                continue
            entry.queued = False
            if self._leads(entry):
                self._lease(entry, token, now)
                taken.append(entry)
        return taken

    def ready(self, now: float) -> bool:
        """Whether take() would probably give something."""
        self._wake(now)
        return bool(self._ready) and self.in_flight < self.policy.max_in_flight

    def ack(self, token: int, positions: Iterable[int]) -> list[int]:
        """Settles events that the token holds; returns the positions it does not hold."""
        refused = []
        for position in positions:
            entry = self._entries.get(position)
            if entry is None or entry.holder != token:
                refused.append(position)
                continue
            self._settle(entry)
            self.changes.acked[token] = self.changes.acked.get(token, 0) + 1
        return refused

    def held_up_to(self, token: int, position: int) -> list[int]:
        """The positions at or below `position` that the token holds."""
        return sorted(p for p in self._held.get(token, ()) if p <= position)

    def nack(self, token: int, position: int, now: float, *, retry_after: float | None, park: bool, error: str) -> bool:
        """Gives an event back; False when the token does not hold it."""
        entry = self._entries.get(position)
        if entry is None or entry.holder != token:
            return False
        if park:
            self._bury(entry, PARKED, error)
        else:
            self._fail(entry, now, error, self.policy.wait_after(entry.attempts) if retry_after is None else retry_after)
        return True

    def extend(self, token: int, positions: Iterable[int], now: float) -> list[int]:
        """Starts the ack deadline of held events anew; returns the positions that the token does not hold."""
        refused = []
        for position in positions:
            entry = self._entries.get(position)
            if entry is None or entry.holder != token:
                refused.append(position)
                continue
            entry.deadline = now + self.policy.ack_deadline
            heapq.heappush(self._deadlines, (entry.deadline, position))
        return refused

    def release(self, token: int, now: float, *, counted: bool) -> None:
        """Gives back at once all that a token holds; not `counted` when the member left in good order: no attempt is used up."""
        for position in sorted(self._held.pop(token, ())):
            entry = self._entries[position]
            if counted:
                self._fail(entry, now, STREAM_BROKE, 0.0)
            else:
                entry.attempts -= 1
                self._unlease(entry)
                self._offer(entry)

    def expire(self, now: float) -> int:
        """Takes back what was held past its deadline; returns how many."""
        expired = 0
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, position = heapq.heappop(self._deadlines)
            entry = self._entries.get(position)
            if entry and entry.holder is not None and entry.deadline == deadline:
                self._fail(entry, now, DEADLINE_PASSED, self.policy.wait_after(entry.attempts))
                expired += 1
        return expired

    def next_due(self) -> float | None:
        """When something happens by itself next: a retry falls due or a deadline passes."""
        times = [heap[0][0] for heap in (self._waiting, self._deadlines) if heap]
        return min(times, default=None)

    def flush(self) -> Changes:
        """Hands over what has to be written, and starts gathering anew."""
        changes, self.changes = self.changes, Changes()
        return changes

    def _restore(self, retry: Retry) -> None:
        self._add(Entry(retry.position, retry.subject, retry.attempts, retry.due, retry.error, recorded=True))

    def _add(self, entry: Entry) -> None:
        self._entries[entry.position] = entry
        if self.policy.order_by_subject:
            insort(self._lanes.setdefault(entry.subject, []), entry.position)
        self._offer(entry)

    def _leads(self, entry: Entry) -> bool:
        return not self.policy.order_by_subject or self._lanes[entry.subject][0] == entry.position

    def _offer(self, entry: Entry) -> None:
        """Queues an event that is nobody's, unless an earlier one of its subject comes first."""
        if entry.holder is not None or entry.queued or not self._leads(entry):
            return
        entry.queued = True
        if entry.due:
            heapq.heappush(self._waiting, (entry.due, entry.position))
        else:
            heapq.heappush(self._ready, entry.position)

    def _wake(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            due, position = heapq.heappop(self._waiting)
            entry = self._entries.get(position)
            if entry and entry.queued and entry.due == due:
                heapq.heappush(self._ready, position)

    def _lease(self, entry: Entry, token: int, now: float) -> None:
        entry.holder = token
        entry.attempts += 1
        self.redeliveries += entry.attempts > 1
        entry.deadline = now + self.policy.ack_deadline
        self._held.setdefault(token, set()).add(entry.position)
        heapq.heappush(self._deadlines, (entry.deadline, entry.position))
        self.in_flight += 1

    def _unlease(self, entry: Entry) -> None:
        if entry.holder is None:
            return
        self._held.get(entry.holder, set()).discard(entry.position)
        entry.holder = None
        self.in_flight -= 1

    def _settle(self, entry: Entry) -> None:
        self._unlease(entry)
        del self._entries[entry.position]
        self.acks.settle(entry.position, entry.position)
        self.changes.settled += 1
        self.changes.retries.pop(entry.position, None)
        if entry.recorded:
            self.changes.forgotten.add(entry.position)
        if self.policy.order_by_subject:
            self._advance_lane(entry)

    def _advance_lane(self, entry: Entry) -> None:
        lane = self._lanes[entry.subject]
        lane.remove(entry.position)
        if lane:
            follower = self._entries[lane[0]]
            self._offer(follower)
        else:
            del self._lanes[entry.subject]

    def _fail(self, entry: Entry, now: float, error: str, wait: float) -> None:
        if entry.attempts >= self.policy.max_deliveries:
            self._bury(entry, MAX_DELIVERIES, error)
            return
        self._unlease(entry)
        entry.due, entry.error, entry.recorded = now + wait, error, True
        self.changes.retries[entry.position] = Retry(entry.position, entry.subject, entry.attempts, entry.due, error)
        self._offer(entry)

    def _park_unseen(self, position: int, subject: str, error: str) -> None:
        """Makes a dead letter of an event that was never dealt out; scanned() settles its position."""
        if self.policy.keep_dead_letters:
            self.changes.dead[position] = Dead(position, subject, FILTER_FAILED, 0, error)
        self.changes.settled += 1

    def _bury(self, entry: Entry, reason: str, error: str) -> None:
        if self.policy.keep_dead_letters:
            self.changes.dead[entry.position] = Dead(entry.position, entry.subject, reason, entry.attempts, error)
        self._settle(entry)
