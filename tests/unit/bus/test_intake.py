"""How a publish gets in: the scanner takes what is ordinary, as protobuf, protovalidate and the catalogue would."""

import pytest
from google.protobuf.descriptor import Descriptor
from tooloo.bus.v1.bus_service_pb2 import PublishRequest, PublishStreamRequest

from bus import shapes
from bus.intake import Intake
from bus.native import Scanner
from mesh import contracts
from mesh.errors import Refusal
from tests.support import wire
from tests.support.events import sample
from tests.unit.bus.intake_bench import MAX_EVENT_BYTES, NUMBERS, expect_agreement, golden_event, oracle, scan, scanner

# what these hold has to be looked at twice
UNSURE = {
    "google.protobuf.Any",
    "google.protobuf.Struct",
    "google.protobuf.Value",
    "google.protobuf.ListValue",
    "google.protobuf.FieldMask",
}


def holds_unsure(data: bytes, descriptor: Descriptor) -> bool:
    """Whether a message holds a field that only protobuf can judge."""
    fields = descriptor.fields_by_number
    for number, _, whole in wire.fields_of(data):
        inner = fields[number].message_type
        if inner is None:
            continue
        if inner.full_name in UNSURE:
            return True
        size, at = wire.read_varint(whole, wire.read_varint(whole, 0)[1])
        if holds_unsure(whole[at : at + size], inner):
            return True
    return False


@pytest.mark.parametrize("name", sorted(contracts.catalogue()))
def test_every_golden_event_takes_the_fast_way(name: str) -> None:
    """Each type's event, with every field set, is surely valid, but for those that hold a Struct or an Any."""
    event = golden_event(name)
    descriptor = contracts.pool().FindMessageTypeByName(contracts.catalogue()[name].message)
    raw = PublishRequest(events=[event]).SerializeToString()
    assert oracle(raw) == [event]
    assert expect_agreement(raw) is not holds_unsure(event.data.value, descriptor)


def test_most_types_take_the_fast_way() -> None:
    """The fast way is the ordinary one."""
    fast = [name for name in contracts.catalogue() if scan(PublishRequest(events=[golden_event(name)]).SerializeToString())]
    assert len(fast) > len(contracts.catalogue()) * 2 / 3


def test_every_sound_shape_of_a_request_takes_the_fast_way() -> None:
    """One, a thousand, a sequence behind them; without optional fields; an upper-case id."""
    plain = sample(1)
    for field in ("correlation_id", "causation_id", "traceparent", "attributes"):
        plain.ClearField(field)
    upper = sample(2)
    upper.id = upper.id.upper()
    thousand = [sample(number) for number in range(1000)]
    for events in ([plain], [upper], thousand, [sample(1), sample(2, "é")]):
        assert expect_agreement(PublishRequest(events=events).SerializeToString())
        assert expect_agreement(PublishStreamRequest(events=events, sequence=2**63 - 1).SerializeToString())
    assert scan(PublishRequest(events=[*thousand, plain]).SerializeToString()) is None
    assert scan(b"") is None


def test_sizes_at_the_limit() -> None:
    """The scanner and the check agree on the very byte, and a type that the log does not know is left to the check."""
    event = sample(1)
    event.attributes["pad"] = ""
    for size in (255, 256, 257):
        event.attributes["pad"] = "x" * size
        raw = PublishRequest(events=[event]).SerializeToString()
        assert (scan(raw) is not None) is (oracle(raw) is not None) is (size <= 256)
    exact = event.ByteSize() - 1
    event.attributes["pad"] = "x" * 256
    raw = PublishRequest(events=[event]).SerializeToString()
    assert scanner().scan(raw, exact) is not None
    assert scanner().scan(raw, exact - 1) is None
    nothing_known = Scanner(*shapes.known_types([(1, "no.such_type", "nobody")]))
    assert nothing_known.scan(raw, MAX_EVENT_BYTES) is None


def test_a_stream_request_needs_its_sequence() -> None:
    """A publish without one, or a sequence on a unary publish, does not slip through by the fast way."""
    intake = Intake(NUMBERS, MAX_EVENT_BYTES)
    events = [sample(1)]
    append, sequence = intake.stream_request(PublishStreamRequest(events=events, sequence=3).SerializeToString())
    assert (append.count, sequence) == (1, 3)
    with pytest.raises(Refusal, match="sequence"):
        intake.stream_request(PublishRequest(events=events).SerializeToString())
    taken = intake.request(PublishStreamRequest(events=events, sequence=3).SerializeToString())
    assert list(PublishRequest.FromString(taken.events).events) == events
    with pytest.raises(Refusal, match="PublishStream"):
        intake.stream_request(b"\x0a\x05")
