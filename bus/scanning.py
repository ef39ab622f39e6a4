"""Reads the disk for a reader with a filter: first which records hold something for it, by their types alone; then those records.

Nearly all of it happens outside Python's lock (SQLite's copying, checksums, cutting), so the records are read in several threads at
once when there are many.
"""

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from bus import batch_store, native
from bus.slices import Chunk, Slice, cut, together

_HEADERS_AT_A_TIME = 512
# less than this is not worth another thread
_PART_BYTES = 512 * 1024


# has something read by another thread that has a connection of its own
Beside = Callable[[Callable[[sqlite3.Connection], list[Slice]]], Future[list[Slice]]]


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for beyond a position, up to the head: until `max_bytes` are found, or `scan_bytes` looked through."""

    after: int
    wanted: bytes
    max_bytes: int
    scan_bytes: int
    head: int


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


def plan(connection: sqlite3.Connection, search: Search) -> Plan:
    """Looks through the types of the records beyond a position until enough is found or looked through.

    What stands beyond the head is committed, but the loop has not been told of it yet: nobody is told before.
    """
    after, wanted = search.after, search.wanted
    records: list[tuple[int, int]] = []
    found = looked = 0
    scanned = after
    with closing(batch_store.read_headers(connection, after, _HEADERS_AT_A_TIME)) as headers:
        for position, last, types, length in headers:
            if last > search.head:
                break
            scanned = last
            looked += len(types)
            if count := len(native.choose(types, max(0, after + 1 - position), wanted)):
                records.append((position, length))
                looked += length
                # about as long as the others of their record
                found += length * count // (last - position + 1)
            if found >= search.max_bytes or looked >= search.scan_bytes:
                break
    return Plan(records, scanned)


def read(connection: sqlite3.Connection, positions: Sequence[int], after: int, wanted: bytes) -> list[Slice]:
    """What is wanted of the records at some positions; what has been deleted meanwhile is passed over. CorruptBatch."""
    batches = (batch_store.read_batch(connection, position) for position in positions)
    return list(together(part for batch in batches if batch and (part := cut(batch, after, wanted))))


def scan(connection: sqlite3.Connection, beside: Beside, threads: int, search: Search) -> Chunk:
    """The next part of the log for a reader with a filter; other threads read some of it meanwhile. CorruptBatch."""
    planned = plan(connection, search)
    first, *others = planned.parts(threads) or [[]]
    jobs = [(part, beside(partial(read, positions=part, after=search.after, wanted=search.wanted))) for part in others]
    found = read(connection, first, search.after, search.wanted)
    for part, job in jobs:
        # one that nobody has begun is done here: all threads may be waiting like this one
        found += read(connection, part, search.after, search.wanted) if job.cancel() else job.result()
    return Chunk(found, planned.scanned)
