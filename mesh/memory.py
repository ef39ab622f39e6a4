"""What a process that handles large messages all day does with memory: it keeps what it frees, and leaves alone what stays."""

import ctypes
import gc
import sys

# malloc.h of the GNU C library
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 * 1024 * 1024


def keep_freed_memory() -> None:
    """Lets blocks up to 32 MiB come from the heap, and leaves that much free at its end.

    By default such a block may be mapped anew each time, and the kernel clears every page of it. A tenth of the price of encoding
    300 KiB again and again (`python -m bench.bus.parts`). Without the GNU C library it does nothing.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
            mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def settle_heap() -> None:
    """Takes what the start has made (modules, descriptors, tables: a hundred thousand objects) out of the sight of the collector.

    None of it ever becomes garbage, and looking through it took some milliseconds each time, in the middle of somebody's call.
    """
    gc.collect()
    gc.freeze()
