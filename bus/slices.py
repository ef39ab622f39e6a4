"""What a reader gets of the log: events as bytes, cut out of their records, with the positions at which they stand."""

from array import array
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tooloo.bus.v1.bus_service_pb2 import PublishRequest
from tooloo.event.v1.event_pb2 import Event

from bus import native
from bus.batches import Batch

# what is put together becomes at most so much
_SMALL_BYTES = 64 * 1024
_SMALL_EVENTS = 500


@dataclass(slots=True)
class Slice:
    """Some events of the log, in order: `repeated Event events = 1` without positions, and the position of each.

    `positions` is a range of step 1, or an array of signed 64-bit integers when there are gaps.
    """

    positions: "range | array[int]"
    events: bytes

    @property
    def last(self) -> int:
        """The position of the last event."""
        return self.positions[-1]

    def stamped(self) -> bytes:
        """The events, each with its position."""
        return native.stamp(self.events, self.positions)

    def stamped_size(self) -> int:
        """How many bytes stamped() gives."""
        return native.stamped_size(self.events, self.positions)

    def decode(self) -> Sequence[Event]:
        """The events, each with its position."""
        return PublishRequest.FromString(self.stamped()).events

    def chosen(self, indexes: Sequence[int]) -> "Slice | None":
        """Only the events at ascending indexes; None when there are none."""
        if len(indexes) == len(self.positions):
            return self
        if not indexes:
            return None
        return Slice(_positions_at(self.positions, indexes), native.gather(self.events, array("I", indexes)))

    def beside(self, positions: Container[int]) -> "Slice | None":
        """Only the events that stand at none of these positions; None when there are none."""
        return self.chosen([index for index, position in enumerate(self.positions) if position not in positions])

    def split(self, count: int) -> "tuple[Slice, Slice]":
        """The first `count` events, and the rest."""
        offset = native.event_offset(self.events, count)
        return Slice(self.positions[:count], self.events[:offset]), Slice(self.positions[count:], self.events[offset:])

    def parts(self, max_bytes: int, max_events: int) -> Iterator["Slice"]:
        """The slice in parts of at most so many events, none much larger than `max_bytes` unless a single event is."""
        rest = self
        while len(rest.positions) > max_events or len(rest.events) > max_bytes:
            count, _ = native.events_within(rest.events, max_bytes, max_events)
            if count >= len(rest.positions):
                break
            part, rest = rest.split(count)
            yield part
        yield rest


@dataclass(slots=True)
class Chunk:
    """Some events of the log, and up to where it has been looked at: what is not wanted in between is left out."""

    slices: Sequence[Slice]
    scanned: int


def cut(batch: Batch, after: int, wanted: bytes | None) -> Slice | None:
    """The events of a batch beyond a position whose type is wanted (one byte for each type number; None: all); None without any."""
    skip = max(0, after + 1 - batch.position)
    indexes = native.choose(batch.types, skip, wanted)
    if not indexes:
        return None
    positions = range(batch.position, batch.last + 1)
    if len(indexes) == batch.count:
        return Slice(positions, batch.events)
    if len(indexes) == batch.count - skip:
        return Slice(positions[skip:], batch.events[native.event_offset(batch.events, skip) :])
    return Slice(_positions_at(positions, indexes), native.gather(batch.events, indexes))


def packed(slices: Iterable[Slice], max_bytes: int, max_events: int) -> Iterator[list[Slice]]:
    """Groups of slices, each to be sent as one message."""
    group: list[Slice] = []
    size = count = 0
    for part in (part for whole in slices for part in whole.parts(max_bytes, max_events)):
        if group and (size + len(part.events) > max_bytes or count + len(part.positions) > max_events):
            yield group
            group, size, count = [], 0, 0
        group.append(part)
        size += len(part.events)
        count += len(part.positions)
    if group:
        yield group


def behind(header: bytes, pieces: Iterable[Slice]) -> bytes:
    """Other bytes and, behind them, events, each with its position."""
    return native.stamped_behind(header, [(piece.events, piece.positions) for piece in pieces])


def together(slices: Iterable[Slice]) -> Iterator[Slice]:
    """Neighbours put together as long as they are small: each slice costs whoever deals it out as much as a large one does."""
    group: list[Slice] = []
    size = count = 0
    for part in slices:
        if group and (size + len(part.events) > _SMALL_BYTES or count + len(part.positions) > _SMALL_EVENTS):
            yield _joined(group)
            group, size, count = [], 0, 0
        group.append(part)
        size += len(part.events)
        count += len(part.positions)
    if group:
        yield _joined(group)


def positions_of(slices: Sequence[Slice]) -> "range | array[int]":
    """The positions of all events of consecutive slices."""
    if len(slices) == 1:
        return slices[0].positions
    positions: array[int] = array("q")
    for part in slices:
        positions.extend(part.positions)
    first, last = positions[0], positions[-1]
    return range(first, last + 1) if last - first + 1 == len(positions) else positions


def _joined(group: Sequence[Slice]) -> Slice:
    return Slice(positions_of(group), b"".join(part.events for part in group)) if len(group) > 1 else group[0]


def _positions_at(positions: "range | array[int]", indexes: Sequence[int]) -> "range | array[int]":
    first, last = positions[indexes[0]], positions[indexes[-1]]
    if last - first + 1 == len(indexes):
        return range(first, last + 1)
    return array("q", [positions[index] for index in indexes])
