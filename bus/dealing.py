"""How a subscription deals its events out: leases, order by subject, retries and dead letters, as a state machine without I/O.

Times are seconds of a clock that only grows and are always given by the caller. What must reach the disk gathers in `changes`.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf

from bus.deliveries import DEADLINE_PASSED, FILTER_FAILED, MAX_DELIVERIES, PARKED, STREAM_BROKE, Changes, Dead, Entry, Policy, Retry
from bus.entries import Entries
from bus.ranges import AckState
from bus.runs import Run, Runs
from bus.slices import Slice


class Dealer:
    """The deliveries of one subscription. A lease belongs to a token; only its holder can acknowledge, give back or extend.

    Every position at or below `cursor` is settled, an entry, or in a run; scanned() moves the cursor. Runs carry what is fresh and
    needs no order by subject; whatever else happens to an event (a retry, a restart, an order) makes it an entry.
    """

    def __init__(self, policy: Policy, acks: AckState) -> None:
        self.policy = policy
        self.acks = acks
        self.cursor = acks.floor
        self.changes = Changes()
        self.in_flight = 0
        self._entries = Entries(by_subject=policy.order_by_subject)
        self._runs = Runs(acks)
        # retries beyond the cursor, until the scan reaches them
        self._carried: dict[int, Retry] = {}
        # the highest position that each token was sent
        self._sent: dict[int, int] = {}

    @property
    def unsettled(self) -> int:
        """Known events that are not settled: out, waiting, or behind another of their subject."""
        return len(self._entries.by_position) + self._runs.unsettled

    @property
    def oldest_unsettled(self) -> int:
        """The lowest position that is not settled; beyond the log's head when everything is."""
        redriven = min((position for position in self._entries.by_position if position <= self.acks.floor), default=None)
        return redriven if redriven is not None else self.acks.floor + 1

    @property
    def redeliveries(self) -> int:
        """Deliveries beyond an event's first."""
        return self._entries.redeliveries

    def carry(self, retries: Iterable[Retry]) -> None:
        """Takes over retries that are on disk: after a restart, or because dead letters are given out again.

        Those beyond the cursor wait until the scan reaches them, so that order within a subject is kept.
        """
        for retry in retries:
            if retry.position > self.cursor:
                self._carried[retry.position] = retry
                continue
            run = self._runs.with_event(retry.position)
            if run is not None:
                self._take_apart(run)
            if known := self._entries.by_position.get(retry.position):
                known.recorded = True
            else:
                self._restore(retry)

    def offer_run(self, piece: Slice) -> bool:
        """Takes the wanted events next behind the cursor as one run; False when they have to be looked at one by one."""
        cursor, first = self.cursor, piece.positions[0]
        if self.policy.order_by_subject or self._carried or self.acks.reaches_beyond(cursor):
            return False
        if first > cursor + 1:
            self.acks.settle(cursor + 1, first - 1)
        self._runs.add(piece)
        self.cursor = piece.last
        return True

    def scanned(self, last: int, wanted: Sequence[tuple[int, str]] = (), failures: Mapping[int, str] | None = None) -> None:
        """Moves the cursor to `last`: the wanted (position, subject) pairs up to there are dealt out, all else there is settled.

        Those among them that the filter failed on (`failures`: position -> error) are parked without a delivery, unless they were
        redriven: whoever does that wants to see them.
        """
        for position, subject in wanted:
            carried = self._carried.pop(position, None)
            if position <= self.cursor or (position in self.acks and not carried):
                continue
            if position > self.cursor + 1:
                self.acks.settle(self.cursor + 1, position - 1)
            self.cursor = position
            if failures and position in failures and not carried:
                self._park_unseen(position, subject, failures[position])
                continue
            if carried:
                self._restore(carried)
            else:
                self._entries.add(Entry(position, subject))
        if last > self.cursor:
            self.acks.settle(self.cursor + 1, last)
            self.cursor = last
        if self._carried and not wanted:
            self._pass_over_carried()

    def unbundle(self) -> None:
        """Makes entries of all that waits in runs: bytes that came with it are let go of and read again when it is dealt out."""
        while self._runs.fresh:
            self._take_apart(self._runs.fresh[0])

    def ready(self, now: float) -> bool:
        """Whether take() or take_run() would probably give something."""
        return (self._entries.ready(now) or bool(self._runs.fresh)) and self.in_flight < self.policy.max_in_flight

    def take_run(self, token: int, limit: int, now: float, max_bytes: int | None = None) -> Run | None:
        """Leases up to `limit` fresh events to the token, as one run; None when there are none.

        Not more than fit into `max_bytes`, but one at least.
        """
        limit = min(limit, self.policy.max_in_flight - self.in_flight)
        if limit <= 0 or not self._runs.fresh:
            return None
        newest = self._sent.get(token, 0)
        run = self._runs.lease(token, limit, max_bytes, newest, now + self.policy.ack_deadline)
        self._sent[token] = max(newest, run.last)
        self.in_flight += len(run)
        return run

    def take(self, token: int, limit: int, now: float) -> list[Entry]:
        """Leases up to `limit` entries to the token, in the order of their positions."""
        limit = min(limit, self.policy.max_in_flight - self.in_flight)
        taken = self._entries.take(token, limit, now, now + self.policy.ack_deadline)
        self.in_flight += len(taken)
        return taken

    def sent(self, token: int, entries: Iterable[Entry]) -> None:
        """Notes that what was taken goes out now, in order of position."""
        newest = self._sent.get(token, 0)
        for entry in entries:
            entry.late = entry.position <= newest
            newest = max(newest, entry.position)
        self._sent[token] = newest

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Takes back what was taken and does not go out now: it is no delivery."""
        for entry in entries:
            self._entries.redeliveries -= entry.attempts > 1
            self._undeliver(entry)

    def ack(self, token: int, positions: Iterable[int]) -> list[int]:
        """Settles events that the token holds; returns the positions it does not hold."""
        refused = []
        acked = 0
        for position in positions:
            if entry := self._entries.settle(position, token):
                self._settled(entry)
            elif not self._runs.settle(token, position):
                refused.append(position)
                continue
            acked += 1
        if acked:
            self._count_acked(token, acked)
        return refused

    def ack_up_to(self, token: int, position: int) -> None:
        """Settles every event at or below a position that the token holds and was sent in order.

        What was sent behind this position or a higher one (a redelivery, one that waited for its subject) may still be on its way
        to a member that says this: it is acknowledged by name alone.
        """
        if entries := self._entries.sent_up_to(token, position):
            self.ack(token, entries)
        if settled := self._runs.settle_up_to(token, position):
            self._count_acked(token, settled)

    def nack(self, token: int, position: int, now: float, *, retry_after: float | None, park: bool, error: str) -> bool:
        """Gives an event back; False when the token does not hold it."""
        entry = self._entry_of(token, position)
        if entry is None:
            return False
        if park:
            self._bury(entry, PARKED, error)
        else:
            self._fail(entry, now, error, self.policy.wait_after(entry.attempts), asked=retry_after)
        return True

    def extend(self, token: int, positions: Iterable[int], now: float) -> list[int]:
        """Starts the ack deadline of held events anew; returns the positions that the token does not hold."""
        refused = []
        deadline = now + self.policy.ack_deadline
        for position in self._runs.extend(token, positions, deadline):
            entry = self._entry_of(token, position)
            if entry is None:
                refused.append(position)
            else:
                self._entries.hold_until(entry, deadline)
        return refused

    def release(self, token: int, now: float, *, counted: bool) -> None:
        """Gives back at once all that a token holds; not `counted` when the member left in good order: no attempt is used up."""
        for run in self._runs.held_by(token):
            self._take_apart(run)
        self._sent.pop(token, None)
        for entry in self._entries.held_by(token):
            if counted:
                self._fail(entry, now, STREAM_BROKE, 0.0)
            else:
                self._undeliver(entry)

    def expire(self, now: float) -> int:
        """Takes back what was held past its deadline, and makes ready what has waited long enough; returns how many it took."""
        while (run := self._runs.pop_overdue(now)) is not None:
            self._take_apart(run)
        expired = 0
        while (entry := self._entries.pop_overdue(now)) is not None:
            self._fail(entry, now, DEADLINE_PASSED, self.policy.wait_after(entry.attempts))
            expired += 1
        self._entries.wake(now)
        return expired

    def next_due(self) -> float | None:
        """When something happens by itself next: a retry falls due or a deadline passes."""
        due = min(self._entries.next_due(), self._runs.next_due())
        return due if due < inf else None

    def flush(self) -> Changes:
        """Hands over what has to be written, and starts gathering anew."""
        changes, self.changes = self.changes, Changes()
        return changes

    def _pass_over_carried(self) -> None:
        """Of what was carried and is not wanted any more, e.g. by another filter, only what somebody redrove is given out."""
        for position in sorted(position for position in self._carried if position <= self.cursor):
            retry = self._carried.pop(position)
            if retry.redriven:
                self._restore(retry)
            else:
                self.changes.forgotten.add(position)

    def _restore(self, retry: Retry) -> None:
        self._entries.add(Entry(retry.position, retry.subject, retry.attempts, retry.due, retry.error, recorded=True))

    def _take_apart(self, run: Run) -> None:
        """Makes entries of what a run still has, under the same lease where somebody holds it."""
        token = run.token
        for position in self._runs.take_apart(run):
            if token is None:
                self._entries.add(Entry(position, ""))
            else:
                self._entries.add(Entry(position, "", attempts=1, holder=token, deadline=run.deadline, late=run.late))

    def _entry_of(self, token: int, position: int) -> Entry | None:
        """The event as an entry of its own, taken out of its run when it is in one; None when the token does not hold it."""
        run = self._runs.of(token, position)
        if run is not None:
            self._take_apart(run)
        entry = self._entries.by_position.get(position)
        return entry if entry is not None and entry.holder == token else None

    def _undeliver(self, entry: Entry) -> None:
        entry.attempts -= 1
        self._entries.give_back(entry)
        self.in_flight -= 1

    def _count_acked(self, token: int, count: int) -> None:
        self.in_flight -= count
        self.changes.count(token, count)

    def _settled(self, entry: Entry) -> None:
        """Notes what has to be written of an entry that is out of the way."""
        self.acks.settle(entry.position, entry.position)
        self.changes.forget(entry)

    def _fail(self, entry: Entry, now: float, error: str, wait: float, *, asked: float | None = None) -> None:
        if entry.attempts >= self.policy.max_deliveries:
            self._bury(entry, MAX_DELIVERIES, error)
            return
        entry.due, entry.error, entry.recorded = now + (wait if asked is None else asked), error, True
        self.changes.wait(entry, asked)
        self._entries.give_back(entry)
        self.in_flight -= 1

    def _bury(self, entry: Entry, reason: str, error: str) -> None:
        """Makes a dead letter of an entry that somebody holds."""
        dead = Dead(entry.position, entry.subject, reason, entry.attempts, error)
        self.changes.bury(dead, keep=self.policy.keep_dead_letters)
        self._entries.settle(entry.position, entry.holder)
        self._settled(entry)
        self.in_flight -= 1

    def _park_unseen(self, position: int, subject: str, error: str) -> None:
        """Makes a dead letter of an event that was never dealt out."""
        self.acks.settle(position, position)
        self.changes.bury(Dead(position, subject, FILTER_FAILED, 0, error), keep=self.policy.keep_dead_letters)
