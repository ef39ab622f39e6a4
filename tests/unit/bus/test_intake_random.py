"""Random publishes of every type, mixed and mutated: whatever the scanner accepts is what the checks accept."""

import random
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st
from tooloo.bus.v1.bus_service_pb2 import PublishRequest
from tooloo.event.v1.event_pb2 import Event

from bus.intake import Intake
from mesh import contracts
from mesh.errors import Refusal
from tests.support import wire
from tests.unit.bus.intake_bench import (
    MAX_EVENT_BYTES,
    NUMBERS,
    expect_agreement,
    golden_event,
    oracle,
    request_of,
)


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
