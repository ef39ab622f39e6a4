"""What is taken out of the log while its neighbours stay: a subject's events, what a newer event supersedes, expired types.

An event that is gone keeps its place in its record, as type number 0 and an empty event, so that positions never move.
"""

import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bus import batch_store, native
from bus.batches import GONE, Batch

_HEADERS_AT_A_TIME = 512
_EMPTY = b"\x0a\x00"


@dataclass(frozen=True, slots=True)
class Cut:
    """Events to be taken out of the batch at a position, by their index in it."""

    position: int
    indexes: Sequence[int]


Finder = Callable[[sqlite3.Connection], Iterable[Cut]]


def without(batch: Batch, indexes: Iterable[int]) -> Batch:
    """The batch as it stands when these events are gone."""
    starts = native.event_starts(batch.events, batch.count)
    pieces = [batch.events[starts[index] : starts[index + 1]] for index in range(batch.count)]
    types = array("H", batch.types)
    for index in indexes:
        types[index] = GONE
        pieces[index] = _EMPTY
    return Batch(batch.position, batch.last, batch.time_us, types.tobytes(), b"".join(pieces))


def of_subject(subject: str) -> Finder:
    """Every event of a subject."""

    def find(connection: sqlite3.Connection) -> Iterator[Cut]:
        text = subject.encode()
        for batch in batch_store.batches_after(connection, 0):
            # most records do not even hold the letters
            if text in batch.events:
                yield from _cut(batch, (index for index, event in enumerate(batch.decode()) if event.subject == subject))

    return find


def superseded(wanted: bytes | None, before_us: int, keep_from: int, most_subjects: int) -> Finder:
    """Events of wanted types (None: all), stored before a time and before `keep_from`, with a newer one of their type and subject.

    Looks from the newest event backwards, and no further than `most_subjects` pairs of type and subject.
    """

    def find(connection: sqlite3.Connection) -> Iterator[Cut]:
        seen: set[tuple[int, str]] = set()
        for position, _, types in batch_store.headers_backwards(connection):
            if len(seen) > most_subjects:
                return
            batch = batch_store.read_batch(connection, position) if native.holds_any(types, wanted) else None
            if batch:
                yield from _cut(batch, _older_ones(batch, wanted, seen, keep_from if batch.time_us < before_us else 0))

    return find


def expired(wanted: bytes | None, before_us: int, keep_from: int) -> Finder:
    """Events of wanted types (None: all), stored before a time and standing before `keep_from`."""

    def find(connection: sqlite3.Connection) -> Iterator[Cut]:
        end = min(batch_store.position_before(connection, before_us), keep_from - 1)
        after = 0
        while headers := list(batch_store.read_headers(connection, after, _HEADERS_AT_A_TIME)):
            for position, after, types, _ in headers:
                if after > end:
                    return
                yield from _cut(Batch(position, after, 0, types, b""), native.choose(types, 0, wanted))

    return find


def apply(connection: sqlite3.Connection, cuts: Iterable[Cut]) -> list[Batch]:
    """Takes events out, inside the writer's transaction; gives the batches as they stand now."""
    replaced = []
    for cut in cuts:
        batch = batch_store.read_batch(connection, cut.position)
        if batch and batch.position == cut.position:
            replaced.append(without(batch, cut.indexes))
            batch_store.replace_batch(connection, replaced[-1])
    return replaced


def _older_ones(batch: Batch, wanted: bytes | None, seen: set[tuple[int, str]], keep_from: int) -> list[int]:
    """The indexes of what is superseded; notes the others as seen."""
    found = []
    events, kinds = batch.decode(), batch.type_ids()
    for index in reversed(native.choose(batch.types, 0, wanted)):
        key = kinds[index], events[index].subject
        if key in seen and batch.position + index < keep_from:
            found.append(index)
        seen.add(key)
    return found


def _cut(batch: Batch, indexes: Iterable[int]) -> Iterator[Cut]:
    found = list(indexes)
    if found:
        yield Cut(batch.position, found)
