"""The record of the log: a batch of events as the bytes in which they were published, with what finds and guards them."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tooloo.bus.v1.bus_service_pb2 import PublishRequest
from tooloo.event.v1.event_pb2 import Event

from bus import native

TYPE_BYTES = 2
# of those whose version differs: a refusal has to fit into the headers of its answer
_SUBJECTS_SHOWN, _SUBJECT_SHOWN = 3, 64
# the number of no type: what stood there was erased or compacted away
GONE = 0


class CorruptBatch(Exception):
    """A stored batch whose bytes are not those that were written."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the batch at position {position} does not fit its checksum; restore it from a backup")
        self.position = position


@dataclass(slots=True)
class Batch:
    """Consecutive events in one row: `types` is a little-endian uint16 type number per event, `events` is `repeated Event = 1`.

    An event that is gone keeps its place: type number 0 and no bytes but those that say so.
    """

    position: int
    last: int
    time_us: int
    types: bytes
    events: bytes

    def checksum(self) -> int:
        """CRC-32C over everything that the row holds."""
        return native.record_checksum(self.position, self.last, self.time_us, self.types, self.events)

    @property
    def count(self) -> int:
        """Events in it, those that are gone too."""
        return self.last - self.position + 1

    def type_ids(self) -> Sequence[int]:
        """The type number of each event."""
        return memoryview(self.types).cast("H")

    def decode(self) -> Sequence[Event]:
        """The events, without their positions; one that is gone is empty."""
        return PublishRequest.FromString(self.events).events

    def after(self, position: int) -> Iterator[tuple[int, Event]]:
        """The events beyond a position, each with its own; without those that are gone."""
        for index, (event, kind) in enumerate(zip(self.decode(), self.type_ids(), strict=True)):
            if self.position + index > position and kind != GONE:
                yield self.position + index, event


@dataclass(slots=True)
class Append:
    """A checked publish on its way to the disk: its events as bytes, what is needed of each, and versions that must stand."""

    events: bytes
    count: int
    ids: bytes
    types: bytes
    subjects: Sequence[bytes]
    expected: Mapping[str, int] = field(default_factory=dict)

    def only(self, indexes: Sequence[int]) -> "Append":
        """The publish with some of its events alone."""
        size = native.ID_BYTES
        chosen = array("I", indexes)
        return Append(
            native.gather(self.events, chosen),
            len(indexes),
            b"".join(self.ids[size * index : size * (index + 1)] for index in indexes),
            b"".join(self.types[TYPE_BYTES * index : TYPE_BYTES * (index + 1)] for index in indexes),
            [self.subjects[index] for index in indexes],
        )


@dataclass(slots=True)
class Appended:
    """Where the events of a publish stand; `duplicates` of them had been stored before."""

    positions: Sequence[int]
    duplicates: int


class VersionConflict(Exception):
    """An expected version differs; `standing` is the position of the newest event of each subject that does."""

    def __init__(self, standing: Mapping[str, int]) -> None:
        shown = [f"{subject[:_SUBJECT_SHOWN]} is at {position}" for subject, position in list(standing.items())[:_SUBJECTS_SHOWN]]
        more = [f"{len(standing) - len(shown)} more"] if len(standing) > len(shown) else []
        super().__init__(f"another version stands: {', '.join(shown + more)}")
        self.standing = standing
