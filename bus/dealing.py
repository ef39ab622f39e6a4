"""How a subscription deals its events out: leases, order by subject, retries and dead letters, as a state machine without I/O.

Times are seconds of a clock that only grows and are always given by the caller. What must reach the disk gathers in `changes`.
"""

import heapq
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

from bus.deliveries import DEADLINE_PASSED, FILTER_FAILED, MAX_DELIVERIES, PARKED, STREAM_BROKE, Changes, Dead, Entry, Policy, Retry
from bus.ranges import AckState
from bus.runs import Run
from bus.slices import Slice

# deadlines of what is settled that may stay in memory, beside as many as there is unsettled
_SETTLED_DEADLINES = 1000


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
        self.redeliveries = 0
        self._entries: dict[int, Entry] = {}
        self._carried: dict[int, Retry] = {}
        self._ready: list[int] = []
        self._waiting: list[tuple[float, int]] = []
        self._deadlines: list[tuple[float, int]] = []
        self._lanes: dict[str, list[int]] = {}
        self._held: dict[int, set[int]] = {}
        self._sent: dict[int, int] = {}
        self._fresh: deque[Run] = deque()
        self._leased: dict[int, list[Run]] = {}
        self._run_deadlines: deque[tuple[float, Run]] = deque()
        self._in_runs = 0

    @property
    def unsettled(self) -> int:
        """Known events that are not settled: out, waiting, or behind another of their subject."""
        return len(self._entries) + self._in_runs

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
                continue
            self._take_out_of_runs(retry.position)
            if known := self._entries.get(retry.position):
                known.recorded = True
            else:
                self._restore(retry)

    def offer_run(self, piece: Slice) -> bool:
        """Takes the wanted events next behind the cursor as one run; False when they have to be looked at one by one."""
        if self.policy.order_by_subject or self._carried or self.acks.reaches_beyond(self.cursor):
            return False
        self.acks.settle(self.cursor + 1, piece.positions[0] - 1)
        self._fresh.append(Run(piece))
        self._in_runs += len(piece.positions)
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
            self.acks.settle(self.cursor + 1, position - 1)
            self.cursor = position
            if failures and position in failures and not carried:
                self._park_unseen(position, subject, failures[position])
                continue
            if carried:
                self._restore(carried)
            else:
                self._add(Entry(position, subject))
        self.acks.settle(self.cursor + 1, last)
        self.cursor = max(self.cursor, last)

    def unbundle(self) -> None:
        """Makes entries of all that waits in runs: bytes that came with it are let go of and read again when it is dealt out."""
        while self._fresh:
            self._unbundle(self._fresh.popleft())

    def take_run(self, token: int, limit: int, now: float, max_bytes: int | None = None) -> Run | None:
        """Leases up to `limit` fresh events to the token, as one run; None when there are none.

        Not more than fit into `max_bytes`, but one at least.
        """
        limit = min(limit, self.policy.max_in_flight - self.in_flight)
        if not self._fresh or limit <= 0:
            return None
        run = self._fresh.popleft()
        if max_bytes is not None:
            limit = run.within(max_bytes, limit)
        newest = self._sent.get(token, 0)
        if run.first <= newest < run.last:
            # part of it would be late and part not
            limit = min(limit, bisect_right(run.positions, newest))
        if len(run) > limit:
            run, rest = run.split(limit)
            self._fresh.appendleft(rest)
            # what lies between the two is no event's: neither of them will settle it
            self.acks.settle(run.last + 1, rest.first - 1)
        run.token, run.deadline = token, now + self.policy.ack_deadline
        run.late = run.first <= newest
        self._sent[token] = max(newest, run.last)
        insort(self._leased.setdefault(token, []), run, key=_first)
        self._note_run_deadline(run)
        self.in_flight += len(run)
        return run

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

    def sent(self, token: int, entries: Iterable[Entry]) -> None:
        """Notes that what was taken goes out now, in order of position."""
        newest = self._sent.get(token, 0)
        for entry in entries:
            entry.late = entry.position <= newest
            newest = max(newest, entry.position)
        self._sent[token] = newest

    def ready(self, now: float) -> bool:
        """Whether take() would probably give something."""
        self._wake(now)
        return bool(self._ready or self._fresh) and self.in_flight < self.policy.max_in_flight

    def ack(self, token: int, positions: Iterable[int]) -> list[int]:
        """Settles events that the token holds; returns the positions it does not hold."""
        refused = []
        for position in positions:
            entry = self._entries.get(position)
            if entry is not None and entry.holder == token:
                self._settle(entry)
            elif run := self._run_of(token, position):
                self._settle_in_run(run, position)
            else:
                refused.append(position)
                continue
            self._count_acked(token, 1)
        return refused

    def ack_up_to(self, token: int, position: int) -> None:
        """Settles every event at or below a position that the token holds and was sent in order.

        What was sent behind this position or a higher one (a redelivery, one that waited for its subject) may still be on its way
        to a member that says this: it is acknowledged by name alone.
        """
        held = self._held.get(token, ())
        self.ack(token, sorted(one for one in held if one <= position and not self._entries[one].late))
        for run in list(takewhile(lambda run: run.first <= position, self._leased.get(token, ()))):
            if run.late:
                continue
            if run.last <= position:
                self._leased[token].remove(run)
                self._settle_run(run)
            else:
                self._settle_beginning(run, position)

    def nack(self, token: int, position: int, now: float, *, retry_after: float | None, park: bool, error: str) -> bool:
        """Gives an event back; False when the token does not hold it."""
        entry = self._entry_of(token, position)
        if entry is None:
            return False
        if park:
            self._bury(entry, PARKED, error)
        else:
            self._fail(entry, now, error, self.policy.wait_after(entry.attempts) if retry_after is None else retry_after)
        return True

    def extend(self, token: int, positions: Iterable[int], now: float) -> list[int]:
        """Starts the ack deadline of held events anew; returns the positions that the token does not hold."""
        refused = []
        for position in self._extend_runs(token, positions, now):
            entry = self._entry_of(token, position)
            if entry is None:
                refused.append(position)
                continue
            entry.deadline = now + self.policy.ack_deadline
            self._note_deadline(entry)
        return refused

    def release(self, token: int, now: float, *, counted: bool) -> None:
        """Gives back at once all that a token holds; not `counted` when the member left in good order: no attempt is used up."""
        for run in list(self._leased.get(token, ())):
            self._take_apart(run)
        self._leased.pop(token, None)
        self._sent.pop(token, None)
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
        while self._run_deadlines and self._run_deadlines[0][0] <= now:
            deadline, run = self._run_deadlines.popleft()
            if run.token is not None and run.deadline == deadline:
                self._take_apart(run)
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, position = heapq.heappop(self._deadlines)
            entry = self._entries.get(position)
            if entry and entry.holder is not None and entry.deadline == deadline:
                self._fail(entry, now, DEADLINE_PASSED, self.policy.wait_after(entry.attempts))
                expired += 1
        return expired

    def next_due(self) -> float | None:
        """When something happens by itself next: a retry falls due or a deadline passes."""
        # runs are mostly settled in the order in which they were leased
        while self._run_deadlines and self._run_deadlines[0][1].token is None:
            self._run_deadlines.popleft()
        times = [queue[0][0] for queue in (self._waiting, self._deadlines, self._run_deadlines) if queue]
        return min(times, default=None)

    def flush(self) -> Changes:
        """Hands over what has to be written, and starts gathering anew."""
        changes, self.changes = self.changes, Changes()
        return changes

    def _note_deadline(self, entry: Entry) -> None:
        heapq.heappush(self._deadlines, (entry.deadline, entry.position))
        if len(self._deadlines) > 2 * len(self._entries) + _SETTLED_DEADLINES:
            # most are of what is long settled, and would stay until they pass: for hours, where the ack deadline is that long
            self._deadlines = [(held.deadline, held.position) for held in self._entries.values() if held.holder is not None]
            heapq.heapify(self._deadlines)

    def _note_run_deadline(self, run: Run) -> None:
        self._run_deadlines.append((run.deadline, run))
        if len(self._run_deadlines) > 2 * self._in_runs + _SETTLED_DEADLINES:
            standing = [(due, other) for due, other in self._run_deadlines if other.token is not None and other.deadline == due]
            self._run_deadlines = deque(standing)

    def _run_of(self, token: int, position: int) -> Run | None:
        """The run in which the token holds this event."""
        runs = self._leased.get(token, [])
        index = bisect_right(runs, position, key=_first) - 1
        return runs[index] if index >= 0 and runs[index].holds(position) else None

    def _entry_of(self, token: int, position: int) -> Entry | None:
        """The event as an entry of its own, taken out of its run when it is in one; None when the token does not hold it."""
        if run := self._run_of(token, position):
            self._take_apart(run)
        entry = self._entries.get(position)
        return entry if entry is not None and entry.holder == token else None

    def _extend_runs(self, token: int, positions: Iterable[int], now: float) -> list[int]:
        """Extends the runs that are held as a whole; returns the other positions."""
        wanted = list(positions)
        inside: dict[int, list[int]] = {}
        for position in wanted:
            if run := self._run_of(token, position):
                inside.setdefault(run.first, []).append(position)
        whole: set[int] = set()
        for run in list(self._leased.get(token, ())):
            if len(set(inside.get(run.first, ()))) == len(run):
                run.deadline = now + self.policy.ack_deadline
                self._note_run_deadline(run)
                whole.update(inside[run.first])
        return [position for position in wanted if position not in whole]

    def _settle_run(self, run: Run) -> None:
        """Settles all of a run that was taken out of its token's list."""
        token, count = run.token, len(run)
        run.token = None
        self.in_flight -= count
        self._in_runs -= count
        self.changes.settled += count
        self._count_acked(token, count)
        self.acks.settle(run.first, run.last)

    def _settle_beginning(self, run: Run, position: int) -> None:
        """Settles the events of a leased run at or below a position that is not its last one."""
        if run.left is not None:
            for held in [held for held in run.outstanding() if held <= position]:
                self._settle_in_run(run, held)
                self._count_acked(run.token, 1)
            return
        first, before = run.first, len(run)
        self.acks.settle(first, run.settle_up_to(position))
        count = before - len(run)
        self.in_flight -= count
        self._in_runs -= count
        self.changes.settled += count
        self._count_acked(run.token, count)

    def _settle_in_run(self, run: Run, position: int) -> None:
        self.acks.settle(*run.span_of(position))
        run.settle(position)
        self.in_flight -= 1
        self._in_runs -= 1
        self.changes.settled += 1
        if not len(run):
            self._unlist(run)

    def _take_apart(self, run: Run) -> None:
        """Makes entries of what a leased run still holds, under the same lease."""
        token = self._unlist(run)
        outstanding = run.outstanding()
        self._in_runs -= len(outstanding)
        held = self._held.setdefault(token, set())
        for position in outstanding:
            before, after = run.span_of(position)
            self.acks.settle(before, position - 1)
            self.acks.settle(position + 1, after)
            entry = Entry(position, "", attempts=1, holder=token, deadline=run.deadline, late=run.late)
            self._entries[position] = entry
            held.add(position)
            self._note_deadline(entry)

    def _unbundle(self, run: Run) -> None:
        """Makes entries of a run that nobody holds."""
        self._in_runs -= len(run)
        for position in run.positions:
            before, after = run.span_of(position)
            self.acks.settle(before, position - 1)
            self.acks.settle(position + 1, after)
            self._add(Entry(position, ""))

    def _take_out_of_runs(self, position: int) -> None:
        """Makes entries of the run that holds an event, if one does."""
        for run in [run for run in self._fresh if run.holds(position)]:
            self._fresh.remove(run)
            self._unbundle(run)
        for run in [run for runs in self._leased.values() for run in runs if run.holds(position)]:
            self._take_apart(run)

    def _unlist(self, run: Run) -> int:
        token, run.token = run.token, None
        if token is None:
            raise RuntimeError("a run that nobody holds was given back")
        self._leased[token].remove(run)
        return token

    def _count_acked(self, token: int | None, count: int) -> None:
        if token is not None:
            self.changes.acked[token] = self.changes.acked.get(token, 0) + count

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
        entry.late = True
        entry.attempts += 1
        self.redeliveries += entry.attempts > 1
        entry.deadline = now + self.policy.ack_deadline
        self._held.setdefault(token, set()).add(entry.position)
        self._note_deadline(entry)
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
        """Makes a dead letter of an event that was never dealt out."""
        self.acks.settle(position, position)
        if self.policy.keep_dead_letters:
            self.changes.dead[position] = Dead(position, subject, FILTER_FAILED, 0, error)
        self.changes.settled += 1

    def _bury(self, entry: Entry, reason: str, error: str) -> None:
        if self.policy.keep_dead_letters:
            self.changes.dead[entry.position] = Dead(entry.position, entry.subject, reason, entry.attempts, error)
        self._settle(entry)


def _first(run: Run) -> int:
    return run.first
