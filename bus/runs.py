"""Runs: neighbouring events that are dealt out, held and settled together, so that a delivery costs nothing for each event."""

from bisect import bisect_left, bisect_right

from bus import native
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
