"""What the bus remembers of the newest events: where each id stands, and the newest position of each subject."""

from collections import deque
from collections.abc import Container


class Window:
    """The newest `size` events by id and by subject; older ones are forgotten."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._order: deque[tuple[bytes, str, int]] = deque()
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
        self._order.append((key, subject, position))
        while len(self._order) > self.size:
            self._forget(*self._order.popleft())

    def position_of(self, key: bytes) -> int | None:
        """Where the event of this id stands; None when it is not remembered."""
        return self._positions.get(key)

    def keys_at(self, positions: Container[int]) -> dict[int, bytes]:
        """The ids of the events at some positions, of those that are remembered."""
        return {position: key for key, _, position in self._order if position in positions}

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
