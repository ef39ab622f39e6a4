"""Odd publishes, each made by hand: the scanner accepts nothing that the checks refuse, and is sure of nothing that is unsure."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tooloo.bus.v1.bus_service_pb2 import PublishRequest

from bus.intake import Intake
from mesh import cloudevents
from tests.support import wire
from tests.support.events import id_of, sample
from tests.unit.bus.intake_bench import (
    MAX_EVENT_BYTES,
    NUMBERS,
    envelope_with,
    expect_agreement,
    request_of,
    rest_of,
    scan,
    text_map,
)


def time_of(seconds: int, nanos: int) -> bytes:
    """A Timestamp or Duration."""
    return wire.number_field(1, seconds) + wire.number_field(2, nanos)


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
