"""Runs: neighbouring events that are dealt out, held and settled together, so that a delivery costs nothing for each event."""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable
from itertools import chain
from math import inf

from bus import native
from bus.deliveries import SETTLED_DEADLINES
from bus.ranges import AckState
from bus.slices import Slice


class Run:
    """Events from one slice, all on their first delivery. Positions between them that are none of them are settled with them."""

    __slots__ = ("_events", "deadline", "late", "left", "positions", "token")

    def __init__(self, piece: Slice) -> None:
        self.positions = piece.positions
        self.token: int | None = None
        self.deadline = 0.0
        # sent when its member had got a higher position
        self.late = False
        # the positions that are not settled; None while that is all of them
        self.left: set[int] | None = None
        self._events = piece.events

    def __len__(self) -> int:
        return len(self.positions) if self.left is None else len(self.left)

    @property
    def first(self) -> int:
        """Position of its first event."""
        return self.positions[0]

    @property
    def last(self) -> int:
        """Position of its last event."""
        return self.positions[-1]

    def outstanding(self) -> list[int]:
        """The positions that are not settled, ascending."""
        return list(self.positions) if self.left is None else sorted(self.left)

    def holds(self, position: int) -> bool:
        """Whether an event at this position is in it and not settled."""
        if self.left is not None:
            return position in self.left
        index = bisect_left(self.positions, position)
        return index < len(self.positions) and self.positions[index] == position

    def span_of(self, position: int) -> tuple[int, int]:
        """One of its events with the positions around it that are none of its events: they are settled together."""
        index = bisect_left(self.positions, position)
        before = self.positions[index - 1] + 1 if index else position
        after = self.positions[index + 1] - 1 if index + 1 < len(self.positions) else position
        return before, after

    def settle_up_to(self, position: int) -> int:
        """Lets go of its events at or below a position, all of them unsettled so far; gives the last position settled with them."""
        count = bisect_right(self.positions, position)
        self.positions = self.positions[count:]
        return self.positions[0] - 1

    def settle(self, position: int) -> None:
        """Marks one of its events."""
        if self.left is None:
            self.left = set(self.positions)
        self.left.discard(position)

    def within(self, max_bytes: int, limit: int) -> int:
        """How many of its first events, at most `limit`, fit into so many bytes; one at least."""
        if len(self.positions) <= limit and len(self._events) <= max_bytes:
            return len(self.positions)
        return native.events_within(self._events, max_bytes, limit)[0]

    def split(self, count: int) -> "tuple[Run, Run]":
        """The first `count` events, and the rest; only before it is leased."""
        head, rest = Slice(self.positions, self._events).split(count)
        return Run(head), Run(rest)

    def take_events(self) -> Slice:
        """Its events, for the one time that they are sent; a later delivery reads them from the log."""
        events, self._events = self._events, b""
        return Slice(self.positions, events)


class Runs:
    """The runs of one subscription: fresh ones in the order of the log, and those that tokens hold.

    What is settled of them is settled in `acks` here, together with the positions around it that are no event's.
    """

    def __init__(self, acks: AckState) -> None:
        self.fresh: deque[Run] = deque()
        # events in all of them
        self.unsettled = 0
        self._acks = acks
        self._leased: dict[int, list[Run]] = {}
        self._deadlines: deque[tuple[float, Run]] = deque()

    def add(self, piece: Slice) -> None:
        """Takes in fresh events behind all others."""
        self.fresh.append(Run(piece))
        self.unsettled += len(piece.positions)

    def lease(self, token: int, limit: int, max_bytes: int | None, newest: int, deadline: float) -> Run:
        """Leases fresh events to the token: as many of the first run as both limits allow, one at least.

        All of them stand beyond `newest`, the highest position that the token was sent, or none does.
        """
        run = self.fresh.popleft()
        if max_bytes is not None:
            limit = run.within(max_bytes, limit)
        first = run.first
        if first <= newest < run.last:
            # part of it would be late and part not
            limit = min(limit, bisect_right(run.positions, newest))
        if len(run) > limit:
            run, rest = run.split(limit)
            self.fresh.appendleft(rest)
            # what lies between the two is no event's: neither of them will settle it
            self._acks.settle(run.last + 1, rest.first - 1)
        run.token, run.late = token, first <= newest
        # fresh runs go out in the order of the log: it stands behind all that the token holds
        self._leased.setdefault(token, []).append(run)
        self._hold_until(deadline, run)
        return run

    def of(self, token: int, position: int) -> Run | None:
        """The run in which the token holds this event."""
        leased = self._leased.get(token, [])
        index = bisect_right(leased, position, key=_first) - 1
        return leased[index] if index >= 0 and leased[index].holds(position) else None

    def held_by(self, token: int) -> list[Run]:
        """All that the token holds, in the order of the log."""
        return list(self._leased.get(token, ()))

    def with_event(self, position: int) -> Run | None:
        """The run that has this event, whether somebody holds it or not."""
        return next((run for run in chain(self.fresh, *self._leased.values()) if run.holds(position)), None)

    def settle(self, token: int, position: int) -> bool:
        """Settles an event; False when the token holds no run with it."""
        run = self.of(token, position)
        if run is None:
            return False
        self._settle_one(token, run, position)
        return True

    def settle_up_to(self, token: int, position: int) -> int:
        """Settles what the token holds at or below a position and was sent in order; returns how many events."""
        before = self.unsettled
        leased = self._leased.get(token, [])
        for run in leased[: bisect_right(leased, position, key=_first)]:
            if run.late:
                continue
            if run.last <= position:
                self.unsettled -= len(run)
                self._acks.settle(run.first, run.last)
                self._unlist(token, run)
            else:
                self._settle_beginning(token, run, position)
        return before - self.unsettled

    def extend(self, token: int, positions: Iterable[int], deadline: float) -> list[int]:
        """Extends the runs that are held as a whole and wholly named; returns the other positions."""
        wanted = list(positions)
        named: dict[int, list[int]] = {}
        for position in wanted:
            run = self.of(token, position)
            if run is not None:
                named.setdefault(run.first, []).append(position)
        whole: set[int] = set()
        for run in self._leased.get(token, ()):
            if len(set(named.get(run.first, ()))) == len(run):
                self._hold_until(deadline, run)
                whole.update(named[run.first])
        return [position for position in wanted if position not in whole]

    def take_apart(self, run: Run) -> list[int]:
        """Takes a run out; its events, which are given back, are dealt with one by one from here on."""
        if run.token is None:
            self.fresh.remove(run)
        else:
            self._unlist(run.token, run)
        outstanding = run.outstanding()
        self.unsettled -= len(outstanding)
        for position in outstanding:
            # what is settled has taken along the positions on both sides of it
            self._acks.settle(run.span_of(position)[0], position - 1)
        return outstanding

    def pop_overdue(self, now: float) -> Run | None:
        """The next run that is held past its deadline, once each."""
        run = self._soonest()
        if run is None or run.deadline > now:
            return None
        self._deadlines.popleft()
        return run

    def next_due(self) -> float:
        """When the next deadline passes; infinite when there is none."""
        run = self._soonest()
        return run.deadline if run is not None else inf

    def _soonest(self) -> Run | None:
        """The run whose deadline passes next; throws out what was queued before it and is settled, taken apart or extended."""
        # runs are mostly settled in the order in which they were leased
        while self._deadlines:
            deadline, run = self._deadlines[0]
            if run.token is not None and run.deadline == deadline:
                return run
            self._deadlines.popleft()
        return None

    def _hold_until(self, deadline: float, run: Run) -> None:
        run.deadline = deadline
        self._deadlines.append((deadline, run))
        if len(self._deadlines) > 2 * self.unsettled + SETTLED_DEADLINES:
            standing = [(due, other) for due, other in self._deadlines if other.token is not None and other.deadline == due]
            self._deadlines = deque(standing)

    def _settle_beginning(self, token: int, run: Run, position: int) -> None:
        """Settles the events of a leased run at or below a position that is not its last one."""
        if run.left is not None:
            for held in [held for held in run.outstanding() if held <= position]:
                self._settle_one(token, run, held)
            return
        first, before = run.first, len(run)
        self._acks.settle(first, run.settle_up_to(position))
        self.unsettled -= before - len(run)

    def _settle_one(self, token: int, run: Run, position: int) -> None:
        self._acks.settle(*run.span_of(position))
        run.settle(position)
        self.unsettled -= 1
        if not len(run):
            self._unlist(token, run)

    def _unlist(self, token: int, run: Run) -> None:
        leased = self._leased[token]
        leased.remove(run)
        if not leased:
            del self._leased[token]
        run.token = None


def _first(run: Run) -> int:
    return run.positions[0]
