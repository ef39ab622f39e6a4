"""How the C library's allocator treats messages of some hundred kilobytes: it keeps them instead of giving each back to the kernel."""

import ctypes
import sys

# malloc.h of the GNU C library
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 * 1024 * 1024


def keep_freed_memory() -> None:
    """Lets blocks up to 32 MiB come from the heap, and leaves that much free at its end.

    By default a block over 128 KiB is mapped anew each time, and the kernel clears every page of it: serialising a message of such a
    size then takes ten times as long (bench/bus). Without the GNU C library it does nothing.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
            mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
