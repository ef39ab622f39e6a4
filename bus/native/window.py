"""The window of remembered ids, by which repeats are known."""

import os
from array import array
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_int64, c_uint16, c_uint32, c_uint64, c_void_p

from bus.native.library import declare, holding, releasing

declare("window_new", c_void_p, c_uint64, c_uint64)
declare("window_free", None, c_void_p)
declare("window_count", c_uint64, c_void_p, c_int64)
declare("window_reserve", c_int, c_void_p, c_uint64, c_int64)
declare("window_find", c_int64, c_void_p, c_char_p, c_uint16, c_int64, c_int64)
declare("window_add", None, c_void_p, c_char_p, c_char_p, c_void_p, c_uint32, c_int64)
declare("window_place", c_uint32, c_void_p, c_char_p, c_char_p, c_void_p, c_uint32, c_int64, c_int64)
declare("window_remove", None, c_void_p, c_char_p, c_char_p, c_void_p, c_uint32, c_int64)


class IdWindow:
    """Fingerprints of remembered ids with their positions. A hit is a candidate: compare the stored id before believing it.

    `sources` gives the number of each type's source: the same id from another source is another event.
    """

    def __init__(self, sources: Sequence[int]) -> None:
        self._window = releasing.window_new(int.from_bytes(os.urandom(8)), int.from_bytes(os.urandom(8)))
        if not self._window:
            raise MemoryError
        self._sources = array("H", sources)
        self._sources_at = self._sources.buffer_info()[0]

    def close(self) -> None:
        """Gives the memory back."""
        window, self._window = self._window, None
        if window:
            releasing.window_free(window)

    def count(self, floor: int) -> int:
        """Remembered positions beyond `floor`."""
        return int(releasing.window_count(self._window, floor))

    def make_room(self, count: int) -> None:
        """Makes room for so many at once: growing by and by would put each in its place several times."""
        if not releasing.window_reserve(self._window, count, 0):
            raise MemoryError

    def find(self, key: bytes, type_id: int, floor: int, limit: int) -> int:
        """The newest candidate beyond `floor` and below `limit`; 0 when there is none."""
        return int(holding.window_find(self._window, key, self._sources[type_id], floor, limit))

    def add(self, ids: bytes, types: bytes, first: int, floor: int) -> None:
        """Remembers events that stand from `first` on."""
        count = self._reserve(types, floor)
        holding.window_add(self._window, ids, types, self._sources_at, count, first)

    def place(self, ids: bytes, types: bytes, first: int, floor: int) -> bool:
        """Remembers events that stand from `first` on; False, and nothing remembered, when one of them may be there already."""
        count = self._reserve(types, floor)
        placed = holding.window_place(self._window, ids, types, self._sources_at, count, first, floor)
        if placed == count:
            return True
        self.remove(ids, types[: 2 * placed], first)
        return False

    def remove(self, ids: bytes, types: bytes, first: int) -> None:
        """Forgets events that were remembered from `first` on."""
        holding.window_remove(self._window, ids, types, self._sources_at, len(types) // 2, first)

    def _reserve(self, types: bytes, floor: int) -> int:
        count = len(types) // 2
        if not releasing.window_reserve(self._window, count, floor):
            raise MemoryError
        return count
