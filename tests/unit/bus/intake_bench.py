"""What tests of the intake ask: the scanner, the oracle that words every refusal, and requests made by hand."""

from array import array
from functools import cache
from typing import Any
from uuid import UUID

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from tooloo.bus.v1.bus_service_pb2 import PublishRequest, PublishStreamRequest
from tooloo.event.v1.event_pb2 import Event

from bus import native, shapes
from bus.check import check_publish
from bus.native import Scanned, Scanner
from mesh import contracts
from mesh.boundary import violations_of
from mesh.errors import Refusal
from tests.contracts.golden import bytes_file
from tests.support import wire
from tests.support.events import sample

MAX_EVENT_BYTES = 4096
NUMBERS = [(number, entry.type, entry.owner) for number, entry in enumerate(contracts.catalogue().values(), 1)]
TYPE_NUMBERS = {name: number for number, name, _ in NUMBERS}


@cache
def scanner() -> Scanner:
    """The scanner under test."""
    return Scanner(*shapes.known_types(NUMBERS))


def scan(raw: bytes) -> Scanned | None:
    """What the scanner is sure of."""
    return scanner().scan(raw, MAX_EVENT_BYTES)


def oracle(raw: bytes, kind: type[Any] = PublishRequest) -> list[Event] | None:
    """The events of a request that may enter the log, checked in full; None when it may not."""
    try:
        request = kind.FromString(raw)
        if violations_of(request):
            return None
        check_publish(request.events, MAX_EVENT_BYTES)
    except (DecodeError, Refusal):
        return None
    return list(request.events)


def expect_agreement(raw: bytes) -> bool:
    """Whatever the scanner accepts the oracle accepts, with the same events, ids, types and subjects; and it can be cut."""
    scanned = scan(raw)
    if scanned is None:
        return False
    events = oracle(raw, PublishStreamRequest if scanned.sequence else PublishRequest)
    assert events is not None, raw.hex()
    assert scanned.count == len(events)
    assert list(PublishRequest.FromString(scanned.events).events) == events
    assert scanned.ids == b"".join(UUID(event.id).bytes for event in events)
    assert scanned.types == array("H", [TYPE_NUMBERS[event.type] for event in events]).tobytes()
    assert scanned.subjects == [event.subject.encode() for event in events]
    starts = native.event_starts(scanned.events, len(events))
    for event, start, end in zip(events, starts, starts[1:], strict=False):
        assert PublishRequest.FromString(scanned.events[start:end]).events == [event]
    # behind a header, a field that is not known here could be taken for one of the header's
    assert not any(len(UnknownFieldSet(message)) for message in (PublishRequest.FromString(scanned.events), *events))
    return True


def golden_event(name: str) -> Event:
    """A golden event as its publisher sent it: without a position."""
    event = Event.FromString(bytes_file(name).read_bytes())
    event.ClearField("position")
    return event


def request_of(*events: bytes) -> bytes:
    """A request that holds events given as bytes."""
    return b"".join(wire.field(1, event) for event in events)


ENVELOPE = wire.fields_of(sample(1).SerializeToString())


def rest_of(number: int) -> bytes:
    """The envelope without one of its fields."""
    return b"".join(whole for known, _, whole in ENVELOPE if known != number)


def envelope_with(number: int, *replacements: bytes) -> bytes:
    """A request of one event in which other fields stand in the place of one."""
    return request_of(rest_of(number) + b"".join(replacements))


def text_map(key: bytes, value: bytes) -> bytes:
    """One attribute."""
    return wire.field(11, wire.field(1, key) + wire.field(2, value))
