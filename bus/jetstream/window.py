"""What the bus remembers of the newest events: where each id stands, and the newest position of each subject."""

from collections import deque
from collections.abc import Callable, Container


class Window:
    """The newest `size` events by id and by subject, and all of the last `seconds`; older ones are forgotten."""

    def __init__(self, size: int, seconds: float, monotonic: Callable[[], float]) -> None:
        self.size = size
        self._seconds = seconds
        self._monotonic = monotonic
        self._order: deque[tuple[bytes, str, int, float]] = deque()
        self._positions: dict[bytes, int] = {}
        self._newest: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._positions)

    def add(self, key: bytes, subject: str, position: int) -> None:
        """Remembers an event; positions must grow. An id that is known keeps its first position.

        Without a subject its id alone: something newer of the subject may have gone.
        """
        self._positions.setdefault(key, position)
        if subject:
            self._newest[subject] = position
        now = self._monotonic()
        self._order.append((key, subject, position, now))
        while len(self._order) > self.size and self._order[0][3] < now - self._seconds:
            key, subject, position, _ = self._order.popleft()
            self._forget(key, subject, position)

    def position_of(self, key: bytes) -> int | None:
        """Where the event of this id stands; None when it is not remembered."""
        return self._positions.get(key)

    def keys_at(self, positions: Container[int]) -> dict[int, bytes]:
        """The ids of the events at some positions, of those that are remembered."""
        return {position: key for key, _, position, _ in self._order if position in positions}

    def newest_of(self, subject: str) -> int | None:
        """Position of a subject's newest event; None when it is not remembered."""
        return self._newest.get(subject)

    def forget_subject(self, subject: str) -> None:
        """Forgets where a subject's newest event stands: it was erased."""
        self._newest.pop(subject, None)

    def _forget(self, key: bytes, subject: str, position: int) -> None:
        if self._positions.get(key) == position:
            del self._positions[key]
        if self._newest.get(subject) == position:
            del self._newest[subject]
