"""The bus's innermost loops in C: scanning a publish, the window of ids, cutting events out of records, checksums.

Plain C behind ctypes: nothing of Python's headers is needed to build it. `make build` builds it.
"""

from bus.native.checksums import crc32c, crc32c_by_table, record_checksum
from bus.native.scanner import ID_BYTES, KnownType, Scanned, Scanner, Shape
from bus.native.slices import (
    NotARecordError,
    choose,
    count_gone,
    event_offset,
    event_starts,
    events_within,
    gather,
    holds_any,
    pack,
    stamp,
    stamped_behind,
    stamped_size,
)
from bus.native.window import IdWindow

__all__ = [
    "ID_BYTES",
    "IdWindow",
    "KnownType",
    "NotARecordError",
    "Scanned",
    "Scanner",
    "Shape",
    "choose",
    "count_gone",
    "crc32c",
    "crc32c_by_table",
    "event_offset",
    "event_starts",
    "events_within",
    "gather",
    "holds_any",
    "pack",
    "record_checksum",
    "stamp",
    "stamped_behind",
    "stamped_size",
]
