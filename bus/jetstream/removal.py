"""What is taken out of the stream while its neighbours stay: a subject's events, and what a newer event supersedes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from bus.jetstream.connection import Incoming
from bus.jetstream.stream import Stream

_READ_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Bounds:
    """How far a removal may go: events stored before a time, standing before a position, with so many pairs in memory."""

    before_us: int
    keep_from: int
    most_subjects: int


async def of_subject(stream: Stream, places: list[str], head: int) -> list[int]:
    """The positions of a subject's events; `places` are its NATS subjects."""
    return sorted([message.sequence for place in places async for message in _every(stream, place, head)])


async def superseded(stream: Stream, place: str, head: int, bounds: Bounds) -> list[int]:
    """Positions under a place (one type's) that have a newer event of their subject, within the bounds."""
    found: list[int] = []
    newest: dict[str, Incoming] = {}
    async for message in _every(stream, place, head):
        before = newest.get(message.subject)
        if before is None and len(newest) >= bounds.most_subjects:
            continue
        if before is not None and before.sequence < bounds.keep_from and before.time_us < bounds.before_us:
            found.append(before.sequence)
        newest[message.subject] = Incoming(message.subject, message.sequence, b"", message.time_us, {})
    return found


async def _every(stream: Stream, place: str, head: int) -> AsyncIterator[Incoming]:
    after = 0
    while after < head:
        messages, after = await stream.read(after, head, _READ_BYTES, place)
        for message in messages:
            yield message
