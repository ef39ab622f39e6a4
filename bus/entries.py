"""Entries: events that are dealt out one by one, each with its attempts, its wait and its place within its subject."""

import heapq
from bisect import insort
from math import inf

from bus.deliveries import SETTLED_DEADLINES, Entry


class Entries:
    """The entries of one subscription: each is held by a token, or waits for its time, its subject or a member.

    With an order by subject, only the first of a subject is given out: the next one follows when it is settled.
    """

    def __init__(self, *, by_subject: bool) -> None:
        self.by_position: dict[int, Entry] = {}
        # deliveries beyond an event's first
        self.redeliveries = 0
        self._by_subject = by_subject
        # queues of positions and of (time, position): what is queued stands in one of these, once
        self._ready: list[int] = []
        self._waiting: list[tuple[float, int]] = []
        # of what is held, and of what has been since
        self._deadlines: list[tuple[float, int]] = []
        # positions of each subject, ascending, and what each token holds
        self._lanes: dict[str, list[int]] = {}
        self._held: dict[int, set[int]] = {}

    def add(self, entry: Entry) -> None:
        """Takes in an event, held or not."""
        self.by_position[entry.position] = entry
        if self._by_subject:
            insort(self._lanes.setdefault(entry.subject, []), entry.position)
        if entry.holder is None:
            self._offer(entry)
        else:
            self._hold(entry, entry.holder, entry.deadline)

    def wake(self, now: float) -> None:
        """Makes ready what has waited long enough: it is no longer anything that happens by itself."""
        while self._waiting and self._waiting[0][0] <= now:
            _, position = heapq.heappop(self._waiting)
            heapq.heappush(self._ready, position)

    def ready(self, now: float) -> bool:
        """Whether take() would probably give something."""
        if self._waiting:
            self.wake(now)
        return bool(self._ready)

    def take(self, token: int, limit: int, now: float, deadline: float) -> list[Entry]:
        """Leases up to `limit` entries to the token until a deadline, in the order of their positions."""
        if self._waiting:
            self.wake(now)
        taken: list[Entry] = []
        while len(taken) < limit and self._ready:
            entry = self.by_position[heapq.heappop(self._ready)]
            entry.queued = False
            if self._by_subject and self._lanes[entry.subject][0] != entry.position:
                # an earlier one has come in since: this one follows it
                continue
            entry.late = True
            entry.attempts += 1
            self.redeliveries += entry.attempts > 1
            self._hold(entry, token, deadline)
            taken.append(entry)
        return taken

    def sent_up_to(self, token: int, position: int) -> list[int]:
        """What the token holds at or below a position and was sent in order, ascending."""
        held = self._held.get(token, ())
        return sorted([one for one in held if one <= position and not self.by_position[one].late])

    def held_by(self, token: int) -> list[Entry]:
        """All that the token holds, in the order of the log."""
        return [self.by_position[position] for position in sorted(self._held.get(token, ()))]

    def hold_until(self, entry: Entry, deadline: float) -> None:
        """Gives an entry that somebody holds its deadline."""
        entry.deadline = deadline
        heapq.heappush(self._deadlines, (deadline, entry.position))
        if len(self._deadlines) > 2 * len(self.by_position) + SETTLED_DEADLINES:
            # most are of what is long settled, and would stay until they pass: for hours, where the ack deadline is that long
            self._deadlines = [(held.deadline, held.position) for held in self.by_position.values() if held.holder is not None]
            heapq.heapify(self._deadlines)

    def give_back(self, entry: Entry) -> None:
        """Lets go of a held entry: from when it is due it is anybody's."""
        self._let_go(entry)
        self._offer(entry)

    def settle(self, position: int, token: int | None) -> Entry | None:
        """Takes out an entry, and lets the next one of its subject follow; None when the token does not hold it."""
        entry = self.by_position.get(position)
        if entry is None or entry.holder != token:
            return None
        self._let_go(entry)
        del self.by_position[position]
        if self._by_subject:
            self._advance_lane(entry)
        return entry

    def pop_overdue(self, now: float) -> Entry | None:
        """The next entry that is held past its deadline, once each."""
        entry = self._soonest()
        if entry is None or entry.deadline > now:
            return None
        heapq.heappop(self._deadlines)
        return entry

    def next_due(self) -> float:
        """When the next wait ends or the next deadline passes; infinite when there is neither."""
        waiting = self._waiting[0][0] if self._waiting else inf
        entry = self._soonest()
        return min(waiting, entry.deadline) if entry else waiting

    def _soonest(self) -> Entry | None:
        """The entry whose deadline passes next; throws out what was queued before it and is settled, given back or extended."""
        while self._deadlines:
            deadline, position = self._deadlines[0]
            entry = self.by_position.get(position)
            if entry and entry.holder is not None and entry.deadline == deadline:
                return entry
            heapq.heappop(self._deadlines)
        return None

    def _offer(self, entry: Entry) -> None:
        """Queues what is nobody's, unless an earlier one of its subject comes first."""
        if entry.holder is not None or entry.queued:
            return
        if self._by_subject and self._lanes[entry.subject][0] != entry.position:
            return
        entry.queued = True
        if entry.due:
            heapq.heappush(self._waiting, (entry.due, entry.position))
        else:
            heapq.heappush(self._ready, entry.position)

    def _hold(self, entry: Entry, token: int, deadline: float) -> None:
        entry.holder = token
        self._held.setdefault(token, set()).add(entry.position)
        self.hold_until(entry, deadline)

    def _let_go(self, entry: Entry) -> None:
        if entry.holder is None:
            raise RuntimeError("an entry that nobody holds was given back")
        held = self._held[entry.holder]
        held.discard(entry.position)
        if not held:
            del self._held[entry.holder]
        entry.holder = None

    def _advance_lane(self, entry: Entry) -> None:
        lane = self._lanes[entry.subject]
        lane.remove(entry.position)
        if lane:
            self._offer(self.by_position[lane[0]])
        else:
            del self._lanes[entry.subject]
