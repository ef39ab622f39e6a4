"""How a publish gets in: the scanner against protobuf, protovalidate and the catalogue, which alone word a refusal."""

import random
from array import array
from functools import cache
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st
from tooloo.bus.v1.bus_service_pb2 import PublishRequest, PublishStreamRequest
from tooloo.event.v1.event_pb2 import Event

from bus import native, shapes
from bus.check import check_publish
from bus.intake import Intake
from bus.native import Scanned, Scanner
from mesh import cloudevents, contracts
from mesh.boundary import violations_of
from mesh.errors import Refusal
from tests.contracts.golden import bytes_file
from tests.support import wire
from tests.support.events import id_of, sample

MAX_EVENT_BYTES = 4096
NUMBERS = [(number, entry.type, entry.owner) for number, entry in enumerate(contracts.catalogue().values(), 1)]
TYPE_NUMBERS = {name: number for number, name, _ in NUMBERS}
# what these hold has to be looked at twice
UNSURE = {
    "google.protobuf.Any",
    "google.protobuf.Struct",
    "google.protobuf.Value",
    "google.protobuf.ListValue",
    "google.protobuf.FieldMask",
}


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


ENVELOPE = wire.fields_of(sample(1).SerializeToString())


def rest_of(number: int) -> bytes:
    """The envelope without one of its fields."""
    return b"".join(whole for known, _, whole in ENVELOPE if known != number)


def envelope_with(number: int, *replacements: bytes) -> bytes:
    """A request of one event in which other fields stand in the place of one."""
    return request_of(rest_of(number) + b"".join(replacements))


def time_of(seconds: int, nanos: int) -> bytes:
    """A Timestamp or Duration."""
    return wire.number_field(1, seconds) + wire.number_field(2, nanos)


def text_map(key: bytes, value: bytes) -> bytes:
    """One attribute."""
    return wire.field(11, wire.field(1, key) + wire.field(2, value))


ODD = {
    "nothing but the envelope": envelope_with(0),
    "a field that nobody knows": envelope_with(0, wire.field(12, b"x")),
    "a field of headers": envelope_with(0) + wire.field(30, b"x"),
    "a position": envelope_with(0, wire.number_field(10, 7)),
    "a position as bytes": envelope_with(0, wire.field(10, b"7")),
    "an id twice": envelope_with(0, wire.field(1, id_of(2).encode())),
    "a subject twice": envelope_with(0, wire.field(4, b"b")),
    "an id of another form": envelope_with(1, wire.field(1, id_of(1).replace("-", "").encode())),
    "an id with dashes elsewhere": envelope_with(1, wire.field(1, b"018f00000000--7000-8000-000000000001")),
    "an id of letters beyond f": envelope_with(1, wire.field(1, b"018g0000-0000-7000-8000-000000000001")),
    "an id of a number": envelope_with(1, wire.number_field(1, 5)),
    "no id": request_of(rest_of(1)),
    "no subject": request_of(rest_of(4)),
    "no time": request_of(rest_of(5)),
    "no data": request_of(rest_of(6)),
    "empty data": envelope_with(6, wire.field(6, b"")),
    "a subject of 512 letters": envelope_with(4, wire.field(4, b"s" * 512)),
    "a subject of 513 letters": envelope_with(4, wire.field(4, b"s" * 513)),
    "a subject of 512 letters in more bytes": envelope_with(4, wire.field(4, "é".encode() * 512)),
    "a subject with a newline at its end": envelope_with(4, wire.field(4, b"s\n")),
    "a subject with DEL": envelope_with(4, wire.field(4, b"s\x7f")),
    "a subject that is not UTF-8": envelope_with(4, wire.field(4, b"\xff")),
    "a subject with a surrogate": envelope_with(4, wire.field(4, b"\xed\xa0\x80")),
    "a correlation of 129 letters": envelope_with(7, wire.field(7, b"c" * 129)),
    "a correlation that is not UTF-8": envelope_with(7, wire.field(7, b"\xc3")),
    "a traceparent of 65 letters": envelope_with(9, wire.field(9, b"t" * 65)),
    "the first second": envelope_with(5, wire.field(5, time_of(-62135596800, 0))),
    "a second before the first": envelope_with(5, wire.field(5, time_of(-62135596801, 0))),
    "the last nanosecond": envelope_with(5, wire.field(5, time_of(253402300799, 999999999))),
    "a second too late": envelope_with(5, wire.field(5, time_of(253402300800, 0))),
    "too many nanos": envelope_with(5, wire.field(5, time_of(0, 1000000000))),
    "nanos below zero": envelope_with(5, wire.field(5, time_of(0, -1))),
    "nanos that only 64 bits hold": envelope_with(5, wire.field(5, time_of(0, 1 << 32 | 5))),
    "a time with another field": envelope_with(5, wire.field(5, time_of(0, 0) + wire.number_field(3, 1))),
    "a time twice": envelope_with(0, wire.field(5, time_of(1, 1))),
    "17 attributes": envelope_with(11, *(text_map(b"a%d" % n, b"") for n in range(17))),
    "16 attributes": envelope_with(11, *(text_map(b"a%d" % n, b"") for n in range(16))),
    "17 of one name": envelope_with(11, *(text_map(b"a", b"%d" % n) for n in range(17))),
    "an attribute twice": envelope_with(11, text_map(b"a", b"1"), text_map(b"a", b"2")),
    "an attribute without a name": envelope_with(11, wire.field(11, wire.field(2, b"x"))),
    "an attribute without a value": envelope_with(11, wire.field(11, wire.field(1, b"x"))),
    "an attribute whose value comes first": envelope_with(11, wire.field(11, wire.field(2, b"x") + wire.field(1, b"y"))),
    "an attribute with a third field": envelope_with(11, wire.field(11, wire.field(1, b"y") + wire.field(3, b"x"))),
    "an attribute of 21 letters": envelope_with(11, text_map(b"a" * 21, b"")),
    "an attribute in capitals": envelope_with(11, text_map(b"aB", b"")),
    "an attribute that begins with a digit": envelope_with(11, text_map(b"1a", b"")),
    "an attribute that is not UTF-8": envelope_with(11, text_map(b"a", b"\xfe")),
    "a type of another source": envelope_with(3, wire.field(3, b"learning")),
    "a type that nobody knows": envelope_with(2, wire.field(2, b"service.unknown")),
    "a tag in more bytes than it needs": wire.tag(1, wire.BYTES, 1) + wire.varint(len(rest_of(0))) + rest_of(0),
    "a tag in more bytes than decoders take": wire.tag(1, wire.BYTES, 5) + wire.varint(len(rest_of(0))) + rest_of(0),
    "a length in more bytes than it needs": wire.tag(1, wire.BYTES) + wire.varint(len(rest_of(0)), 1) + rest_of(0),
    "a length in more bytes than decoders take": wire.tag(1, wire.BYTES) + wire.varint(len(rest_of(0)), 5) + rest_of(0),
    "the same inside": envelope_with(4, wire.tag(4, wire.BYTES, 5) + wire.varint(1) + b"s"),
    "a length of inside in more bytes": envelope_with(4, wire.field(4, b"s", extra=5)),
    "field number 0": envelope_with(0, wire.field(0, b"")),
    "a group": envelope_with(0, wire.tag(4, 3) + wire.tag(4, 4)),
    "a wire type that is none": envelope_with(0, wire.tag(4, 7)),
    "a sequence before the events": wire.number_field(20, 1) + envelope_with(0),
    "a sequence twice": envelope_with(0) + wire.number_field(20, 1) + wire.number_field(20, 2),
    "a sequence between events": envelope_with(0) + wire.number_field(20, 1) + envelope_with(0),
    "a sequence of 0": envelope_with(0) + wire.number_field(20, 0),
    "a sequence below 0": envelope_with(0) + wire.number_field(20, -1),
    "a version": PublishRequest(events=[sample(1)], expected_versions={"a": 1}).SerializeToString(),
    "half an event": envelope_with(0)[:-3],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_requests(name: str) -> None:
    """Whatever stands in a request, the scanner never accepts what the oracle refuses."""
    expect_agreement(ODD[name])


@pytest.mark.parametrize(
    "name",
    [name for name in ODD if " decoders " in name or name.startswith(("a field", "a position", "half", "field number", "17"))],
)
def test_what_could_be_taken_for_something_else_is_never_sure(name: str) -> None:
    """Stored as it came, it would be read in another way by someone, or hold up every reader."""
    assert scan(ODD[name]) is None


@st.composite
def soups(draw: st.DrawFn) -> bytes:
    """Golden events with their fields mixed, doubled, cut, and bytes of them changed."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    names = sorted(contracts.catalogue())
    events = []
    for _ in range(chance.choice((1, 1, 2))):
        fields = wire.fields_of(filled(chance, chance.choice(names)).SerializeToString())
        if chance.random() < 0.5:
            fields = mixed(chance, fields)
        events.append(b"".join(whole for _, _, whole in fields))
    raw = request_of(*events)
    return mutated(chance, raw) if chance.random() < 0.5 else raw


def mixed(chance: random.Random, fields: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """Fields in another order, one missing, one twice, or one within the data."""
    fields = list(fields)
    what = chance.randrange(4)
    if what == 0:
        chance.shuffle(fields)
    elif what == 1:
        fields.pop(chance.randrange(len(fields)))
    elif what == 2:
        fields.insert(chance.randrange(len(fields)), chance.choice(fields))
    else:
        at = next(index for index, (number, _, _) in enumerate(fields) if number == 6)
        data = Event.FromString(fields[at][2]).data
        url, value = wire.field(1, data.type_url.encode()), wire.field(2, data.value)
        fields[at] = (
            6,
            wire.BYTES,
            wire.field(6, chance.choice((value + url, url + value + value, url, value, url + mutated(chance, value)))),
        )
    return fields


def mutated(chance: random.Random, raw: bytes) -> bytes:
    """A few bytes changed, taken out, put in or doubled."""
    out = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(out) or 1)
        what = chance.randrange(4)
        if what == 0 and out:
            out[at] = chance.choice((chance.randrange(256), out[at] ^ 1 << chance.randrange(8)))
        elif what == 1:
            del out[at : at + chance.randrange(1, 4)]
        elif what == 2:
            out[at:at] = chance.randbytes(chance.randrange(1, 4))
        else:
            out[at:at] = out[at : at + chance.randrange(1, 30)]
    return bytes(out)


def filled(chance: random.Random, name: str) -> Event:
    """A golden event whose data is chosen at random, most of it sound."""
    event = golden_event(name)
    if chance.random() < 0.7:
        message = contracts.message_class(event.data.TypeName())()
        _fill(chance, message, 3)
        event.data.value = message.SerializeToString()
    return event


def _fill(chance: random.Random, message: Any, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.4:
            continue
        entry = field.message_type is not None and field.message_type.GetOptions().map_entry
        if entry:
            key, value = field.message_type.fields
            target = getattr(message, field.name)
            if value.message_type is None:
                target[_scalar(chance, key)] = _scalar(chance, value)
            elif depth:
                _fill_message(chance, target[_scalar(chance, key)], depth)
        elif field.message_type is not None:
            if depth:
                target = getattr(message, field.name)
                _fill_message(chance, target.add() if field.is_repeated else target, depth)
        elif field.is_repeated:
            getattr(message, field.name).extend(_scalar(chance, field) for _ in range(chance.randrange(4)))
        else:
            setattr(message, field.name, _scalar(chance, field))


def _fill_message(chance: random.Random, message: Any, depth: int) -> None:
    if message.DESCRIPTOR.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
        message.seconds = chance.choice(
            (0, 1, -1, 253402300799, 253402300800, -62135596800, 315576000000, 315576000001, -315576000000)
        )
        message.nanos = chance.choice((0, 1, -1, 999999999, 1000000000, -999999999))
    _fill(chance, message, depth - 1) if message.DESCRIPTOR.full_name.startswith("tooloo.") else message.SetInParent()


def _scalar(chance: random.Random, field: FieldDescriptor) -> Any:
    if field.type == field.TYPE_STRING:
        return chance.choice(("", "a", "é", "\U0001f600", "x" * 20))
    if field.type == field.TYPE_BYTES:
        return chance.randbytes(3)
    if field.type == field.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT):
        return chance.choice((0.0, 1.5, float("nan"), float("inf")))
    if field.type in (field.TYPE_UINT32, field.TYPE_UINT64, field.TYPE_FIXED32, field.TYPE_FIXED64):
        return chance.choice((0, 1, 2**31))
    return chance.choice((0, 1, -1, 2**31 - 1))


@settings(max_examples=3000)
@given(soups())
def test_the_scanner_never_accepts_what_the_oracle_refuses(raw: bytes) -> None:
    """Generated and mutated requests of every type."""
    expect_agreement(raw)


@settings(max_examples=300)
@given(soups())
def test_taking_a_request_is_the_same_by_either_way(raw: bytes) -> None:
    """Refused by both or taken by both, and what is taken is the same but for the position that a publisher wrote."""
    intake = Intake(NUMBERS, MAX_EVENT_BYTES)
    expected = oracle(raw)
    if expected is None:
        with pytest.raises(Refusal):
            intake.request(raw)
        return
    taken = intake.request(raw)
    for event in expected:
        event.ClearField("position")
        event.DiscardUnknownFields()
    assert list(PublishRequest.FromString(taken.events).events) == expected
    assert taken.subjects == [event.subject.encode() for event in expected]


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


def test_unknown_fields_and_positions_never_enter_a_record() -> None:
    """In a record they could be taken for a header, or for the log's own."""
    intake = Intake(NUMBERS, MAX_EVENT_BYTES)
    clean = PublishRequest(events=[sample(1)]).SerializeToString()
    for name in ("a field that nobody knows", "a field of headers", "a position"):
        assert intake.request(ODD[name]).events == clean


UTF8 = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=6).map(str.encode),
    st.tuples(st.text(max_size=4).map(str.encode), st.binary(max_size=3)).map(b"".join),
    st.sampled_from(
        (
            b"\xc0\x80",
            b"\xe0\x80\x80",
            b"\xed\x9f\xbf",
            b"\xed\xa0\x80",
            b"\xf0\x8f\xbf\xbf",
            b"\xf4\x8f\xbf\xbf",
            b"\xf4\x90\x80\x80",
        )
    ),
)


@settings(max_examples=2000)
@given(UTF8)
def test_utf8_is_what_pythons_decoder_says(text: bytes) -> None:
    """No surrogates, no overlong forms, nothing cut off."""
    try:
        text.decode()
        sound = True
    except UnicodeDecodeError:
        sound = False
    assert (scan(envelope_with(7, wire.field(7, text))) is not None) is sound


def test_every_two_and_three_bytes_of_utf8() -> None:
    """All lead bytes with every kind of second and third byte."""
    edges = (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF)
    for lead in range(256):
        for text in [bytes([lead, second, *more]) for second in edges for more in ([], [0x80], [0xBF], [0xC0], [0x80, 0x80])]:
            try:
                text.decode()
                sound = True
            except UnicodeDecodeError:
                sound = False
            assert (scan(envelope_with(7, wire.field(7, text))) is not None) is sound, text


@pytest.mark.parametrize("name", sorted(cloudevents.RESERVED))
def test_a_name_that_cloudevents_keeps_is_never_sure(name: str) -> None:
    """The library's list of them is that of the check; a longer name is anyone's."""
    assert scan(envelope_with(11, text_map(name.encode(), b"x"))) is None
    if name.isalnum():
        assert scan(envelope_with(11, text_map(f"{name[:18]}x".encode(), b"x"))) is not None
