"""The record of the log: a batch of events as the bytes in which they were published, with what finds and guards them."""

import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from sys import byteorder
from uuid import UUID

from tooloo.bus.v1.bus_service_pb2 import PublishRequest
from tooloo.event.v1.event_pb2 import Event

_HEADER = Struct("<qqq")


class CorruptBatch(Exception):
    """A stored batch whose bytes are not those that were written."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the batch at position {position} does not fit its checksum; restore it from a backup")
        self.position = position


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive events in one row: `types` is a little-endian uint16 type id per event, `events` is `repeated Event = 1`."""

    position: int
    last: int
    time_us: int
    types: bytes
    events: bytes

    def checksum(self) -> int:
        """CRC-32 over everything that the row holds."""
        crc = zlib.crc32(_HEADER.pack(self.position, self.last, self.time_us))
        return zlib.crc32(self.events, zlib.crc32(self.types, crc))

    def type_ids(self) -> Sequence[int]:
        """The type id of each event."""
        ids = array("H", self.types)
        if byteorder == "big":
            ids.byteswap()
        return ids

    def decode(self) -> Sequence[Event]:
        """The events, without their positions."""
        return PublishRequest.FromString(self.events).events

    def after(self, position: int) -> Iterator[tuple[int, Event]]:
        """The events beyond a position, each with its own."""
        for index, event in enumerate(self.decode()):
            if self.position + index > position:
                yield self.position + index, event


def encode_types(ids: Sequence[int]) -> bytes:
    """Type ids as a batch keeps them; OverflowError beyond 65,535 types."""
    encoded = array("H", ids)
    if byteorder == "big":
        encoded.byteswap()
    return encoded.tobytes()


@dataclass(slots=True)
class Append:
    """A publish on its way to the disk: its events, what is needed of each, and the request's own bytes."""

    events: Sequence[Event]
    encoded: bytes
    keys: list[bytes]
    expected: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Sequence[Event], expected: Mapping[str, int] | None = None) -> "Append":
        """Prepares checked events; drops fields that this contract does not know: in a row they could be taken for headers."""
        request = PublishRequest(events=events)
        request.DiscardUnknownFields()
        for event in request.events:
            if event.position:
                event.position = 0
        keys = [UUID(event.id).bytes + event.source.encode() for event in request.events]
        return cls(request.events, request.SerializeToString(), keys, dict(expected or {}))

    def only(self, indexes: Sequence[int]) -> bytes:
        """The bytes of some of its events."""
        return PublishRequest(events=[self.events[index] for index in indexes]).SerializeToString()


@dataclass(frozen=True, slots=True)
class Appended:
    """Where the events of a publish stand; `duplicates` of them had been stored before."""

    positions: list[int]
    duplicates: int


class VersionConflict(Exception):
    """An expected version differs; `standing` is the position of the newest event of each subject that does."""

    def __init__(self, standing: Mapping[str, int]) -> None:
        super().__init__(
            "another version stands: " + ", ".join(f"{subject} is at {position}" for subject, position in standing.items())
        )
        self.standing = standing
