"""What a subscription has settled, as a floor and ranges above it."""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

_PAIR = struct.Struct("<qq")


class AckState:
    """Settled positions: all up to `floor`, and closed ranges above it that neither touch each other nor the floor.

    Settled means: acknowledged, dead-lettered, or of no interest to the subscription. Memory grows with the holes, not the events.
    """

    def __init__(self, floor: int = 0, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self.floor = floor
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.settle(first, last)

    def __contains__(self, position: int) -> bool:
        if position <= self.floor:
            return True
        index = bisect_right(self._firsts, position) - 1
        return index >= 0 and position <= self._lasts[index]

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The closed ranges above the floor, ascending."""
        return list(zip(self._firsts, self._lasts, strict=True))

    @property
    def above_floor(self) -> int:
        """How many positions above the floor are settled."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    def up_to(self, position: int) -> "AckState":
        """What is settled at or below a position."""
        within = ((first, min(last, position)) for first, last in self.ranges if first <= position)
        return AckState(min(self.floor, position), within)

    def reaches_beyond(self, position: int) -> bool:
        """Whether anything beyond a position is settled."""
        return self.floor > position or bool(self._lasts and self._lasts[-1] > position)

    def among(self, positions: Sequence[int]) -> set[int]:
        """Those of some ascending positions that are settled."""
        return {position for position in positions if position in self} if self.reaches_beyond(positions[0] - 1) else set()

    def settle(self, first: int, last: int) -> None:
        """Settles the closed range first..last; an empty or already settled one changes nothing."""
        if last < first or last <= self.floor:
            return
        # neighbours that touch become one range, so that a gapless run costs one entry
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first, last = min(first, self._firsts[low]), max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]
        if self._firsts[0] <= self.floor + 1:
            self.floor = self._lasts.pop(0)
            self._firsts.pop(0)

    def encode(self) -> bytes:
        """The ranges as little-endian pairs of signed 64-bit integers; the floor is kept beside them."""
        return b"".join(_PAIR.pack(first, last) for first, last in self.ranges)

    @classmethod
    def decode(cls, floor: int, encoded: bytes) -> "AckState":
        """The inverse of encode(); struct.error when the bytes are no pairs."""
        return cls(floor, _PAIR.iter_unpack(encoded))
