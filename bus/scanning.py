"""Reads the disk for a reader with a filter: first which records hold something for it, by their types alone; then those records.

Nearly all of it happens outside Python's lock (SQLite's copying, checksums, cutting), so the records are read in several threads at
once when there are many.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from bus import native, store
from bus.slices import Slice, cut

_HEADERS_AT_A_TIME = 512
# less than this is not worth another thread
_PART_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read next: where the records begin that hold something wanted, and how long each is; up to where that looks."""

    records: Sequence[tuple[int, int]]
    scanned: int

    def parts(self, most: int) -> list[list[int]]:
        """The records in at most so many parts of about the same size, in order; a few small ones are one part."""
        size = sum(length for _, length in self.records)
        share = max(_PART_BYTES, -(-size // most))
        parts: list[list[int]] = []
        room = 0
        for position, length in self.records:
            if room <= 0:
                parts.append([])
                room = share
            parts[-1].append(position)
            room -= length
        return parts


def plan(connection: sqlite3.Connection, after: int, wanted: bytes, limits: tuple[int, int], head: int) -> Plan:
    """Looks through the types of the records beyond a position until enough is found or looked through: `limits` in bytes.

    What stands beyond the head is committed, but the loop has not been told of it yet: nobody is told before.
    """
    max_bytes, scan_bytes = limits
    records: list[tuple[int, int]] = []
    found = looked = 0
    scanned = after
    for position, last, types, length in store.read_headers(connection, after, _HEADERS_AT_A_TIME):
        if last > head:
            break
        scanned = last
        looked += len(types)
        if count := len(native.choose(types, max(0, after + 1 - position), wanted)):
            records.append((position, length))
            looked += length
            # about as long as the others of their record
            found += length * count // (last - position + 1)
        if found >= max_bytes or looked >= scan_bytes:
            break
    return Plan(records, scanned)


def read(connection: sqlite3.Connection, positions: Sequence[int], after: int, wanted: bytes) -> list[Slice]:
    """What is wanted of the records at some positions; what has been deleted meanwhile is passed over. CorruptBatch."""
    batches = (store.read_batch(connection, position) for position in positions)
    return [part for batch in batches if batch and (part := cut(batch, after, wanted))]
