"""What a publish must be to enter the log: known types from their owners, data that every reader can decode and print."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from tooloo.error.v1.error_reason_pb2 import ErrorReason
from tooloo.event.v1.event_pb2 import Event

from mesh import contracts, errors

_MAX_VIOLATIONS = 16
# the years 1 to 9999, and 10,000 years: what JSON can write (google/protobuf/timestamp.proto, duration.proto)
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_LONGEST_DURATION = 315_576_000_000
_BILLION = 1_000_000_000
_MAX_DEPTH = 32
Violation = tuple[ErrorReason.ValueType, str, str]


def check_publish(events: Sequence[Event], max_event_bytes: int) -> None:
    """INVALID_ARGUMENT that names every field at fault, e.g. "events[2].type"; nothing when all are in order."""
    violations: list[Violation] = []
    for index, event in enumerate(events):
        violations.extend((reason, f"events[{index}]{field}", text) for reason, field, text in _violations(event, max_event_bytes))
        if len(violations) >= _MAX_VIOLATIONS:
            break
    if violations:
        raise errors.invalid_fields([(field, text) for _, field, text in violations], reason=violations[0][0])


def _violations(event: Event, max_event_bytes: int) -> Iterable[Violation]:
    unknown, mismatch = ErrorReason.ERROR_REASON_UNKNOWN_EVENT_TYPE, ErrorReason.ERROR_REASON_EVENT_DATA_MISMATCH
    invalid = ErrorReason.ERROR_REASON_INVALID_FIELD
    size = event.ByteSize()
    if size > max_event_bytes:
        yield invalid, "", f"the event has {size} bytes; at most {max_event_bytes} are allowed"
    if not _timestamp_is_sound(event.time):
        yield invalid, ".time", "must lie in the years 1 to 9999"
    entry = contracts.catalogue().get(event.type)
    if entry is None:
        yield unknown, ".type", f"{event.type!r} is not in the catalogue; GET /api/v1/events/catalogue lists it"
        return
    if event.source != entry.owner:
        yield unknown, ".source", f"only {entry.owner!r} may publish {event.type}"
    if event.data.TypeName() != entry.message:
        yield mismatch, ".data", f"{event.type} carries {entry.message}, not {event.data.TypeName()!r}"
    elif not _decodes(event.data):
        yield mismatch, ".data", f"the bytes are no {entry.message} that can be decoded and written as JSON"


def _decodes(data: Any, depth: int = 0) -> bool:
    """Whether an Any holds a known message that decodes and prints: an unprintable one would cut the stream of every reader."""
    if not data.type_url and not data.value:
        return True
    try:
        message = contracts.message_class(data.TypeName()).FromString(data.value)
    except (KeyError, DecodeError):
        return False
    return is_sound(message, depth + 1)


def is_sound(message: Message, depth: int = 0) -> bool:
    """Whether a message can be written as proto3 JSON: times within their ranges, numbers in Values finite, Anys known."""
    if depth > _MAX_DEPTH:
        return False
    rule = _RULES.get(message.DESCRIPTOR.full_name)
    if rule:
        return rule(message, depth)
    return all(is_sound(part, depth + 1) for field in _risky_fields(message.DESCRIPTOR) for part in _parts(message, field))


def _parts(message: Message, field: FieldDescriptor) -> Iterable[Message]:
    value = getattr(message, field.name)
    # first of all, for a Struct counts as a Mapping too
    if not field.is_repeated:
        return [value] if message.HasField(field.name) else []
    if isinstance(value, Mapping):
        return [value[key] for key in value]
    return list(value)


@cache
def _risky_fields(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    """The fields through which something can be reached that JSON cannot always write; most messages have few."""
    return tuple(field for field in descriptor.fields if _reaches_rule(_message_of(field), frozenset({descriptor.full_name})))


def _message_of(field: FieldDescriptor) -> Descriptor | None:
    """The message type of a field; of a map, that of its values."""
    message: Descriptor | None = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return _message_of(message.fields_by_name["value"])
    return message


def _reaches_rule(descriptor: Descriptor | None, seen: frozenset[str]) -> bool:
    if descriptor is None:
        return False
    if descriptor.full_name in _RULES:
        return True
    if descriptor.full_name in seen:
        return False
    inner = seen | {descriptor.full_name}
    return any(_reaches_rule(_message_of(field), inner) for field in descriptor.fields)


def _timestamp_is_sound(message: Any) -> bool:
    return bool(_FIRST_SECOND <= message.seconds <= _LAST_SECOND and 0 <= message.nanos < _BILLION)


def _duration_is_sound(message: Any) -> bool:
    one_sign = message.seconds * message.nanos >= 0
    return bool(abs(message.seconds) <= _LONGEST_DURATION and abs(message.nanos) < _BILLION and one_sign)


def _value_is_sound(message: Any, depth: int) -> bool:
    kind = message.WhichOneof("kind")
    if kind == "number_value":
        return math.isfinite(message.number_value)
    if kind in ("struct_value", "list_value"):
        return is_sound(getattr(message, kind), depth + 1)
    return kind is not None


def _struct_is_sound(message: Any, depth: int) -> bool:
    return all(_value_is_sound(message.fields[key], depth + 1) for key in message.fields)


_RULES: Mapping[str, Callable[[Any, int], bool]] = {
    "google.protobuf.Any": _decodes,
    "google.protobuf.Timestamp": lambda message, _: _timestamp_is_sound(message),
    "google.protobuf.Duration": lambda message, _: _duration_is_sound(message),
    "google.protobuf.Value": _value_is_sound,
    "google.protobuf.Struct": _struct_is_sound,
    "google.protobuf.ListValue": lambda message, depth: all(_value_is_sound(value, depth + 1) for value in message.values),
}
