"""The newest batches in memory, shared by all followers; who lags behind them reads the disk."""

import sys
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

    def drop(self, up_to: int) -> None:
        """Lets go of the batches up to the end of one: retention has deleted them."""
        while self._batches and self._batches[0].last <= up_to:
            self._bytes -= len(self._batches.popleft().events)

    def after(self, position: int, max_bytes: int, most: int = sys.maxsize) -> list[Batch] | None:
        """Batches with events beyond a position, up to `max_bytes` (at least one) and at most so many.

        None when the disk must be asked.
        """
        if not self._batches or position + 1 < self._batches[0].position:
            return None
        found: list[Batch] = []
        size = 0
        newest = self._batches[-1]
        if newest.position <= position + 1 <= newest.last:
            # who keeps up finds his place at once: to look for it among forty thousand batches costs as much as all else here
            first = len(self._batches) - 1
        else:
            first = bisect_left(self._batches, position + 1, key=_last)
        for index in range(first, min(len(self._batches), first + most)):
            batch = self._batches[index]
            found.append(batch)
            size += len(batch.events)
            if size >= max_bytes:
                break
        return found


def _last(batch: Batch) -> int:
    return batch.last
