"""The newest batches in memory, shared by all followers; who lags behind them reads the disk."""

from bisect import bisect_left
from collections import deque

from bus.batches import Batch


class Recent:
    """A bounded run of consecutive batches that always ends at the head."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._batches: deque[Batch] = deque()

    def add(self, batch: Batch) -> None:
        """Adds the newest batch; the oldest ones leave while there are too many bytes."""
        self._batches.append(batch)
        self._bytes += len(batch.events)
        while self._bytes > self._max_bytes and len(self._batches) > 1:
            self._bytes -= len(self._batches.popleft().events)

    def replace(self, batch: Batch) -> None:
        """Puts a batch in the place of the one that stood at its position, when that is here."""
        index = bisect_left(self._batches, batch.last, key=_last)
        if index < len(self._batches) and self._batches[index].position == batch.position:
            self._bytes += len(batch.events) - len(self._batches[index].events)
            self._batches[index] = batch

    def after(self, position: int, max_bytes: int) -> list[Batch] | None:
        """Batches with events beyond a position, up to `max_bytes` (at least one); None when the disk must be asked."""
        if not self._batches or position + 1 < self._batches[0].position:
            return None
        found: list[Batch] = []
        size = 0
        for index in range(bisect_left(self._batches, position + 1, key=_last), len(self._batches)):
            batch = self._batches[index]
            found.append(batch)
            size += len(batch.events)
            if size >= max_bytes:
                break
        return found


def _last(batch: Batch) -> int:
    return batch.last
