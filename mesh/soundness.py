"""What every message must be beyond its rules: such that it can be written as proto3 JSON.

The binary format holds times out of range, Values without a kind and Anys of unknown types. Code that reads them fails, and the
door cuts the answer in which it meets one.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from mesh import contracts

# the years 1 to 9999, and 10,000 years: what JSON can write (google/protobuf/timestamp.proto, duration.proto)
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_LONGEST_DURATION = 315_576_000_000
_BILLION = 1_000_000_000
_MAX_DEPTH = 32
_ADVICE = {
    "google.protobuf.Timestamp": "must lie in the years 1 to 9999, with nanos from 0 to 999999999",
    "google.protobuf.Duration": "must be at most 10,000 years, with nanos of the same sign and below 1000000000",
}


def is_sound(message: Message, depth: int = 0) -> bool:
    """Whether a message can be written as proto3 JSON: times within their ranges, numbers in Values finite, Anys known."""
    if depth > _MAX_DEPTH:
        return False
    rule = _RULES.get(message.DESCRIPTOR.full_name)
    if rule:
        return rule(message, depth)
    return all(is_sound(part, depth + 1) for field in _risky_fields(message.DESCRIPTOR) for _, part in _parts(message, field))


def unsound_fields(message: Message, path: str = "") -> Iterator[tuple[str, str]]:
    """The fields that cannot be written as proto3 JSON: (field path, what to do)."""
    for field in _risky_fields(message.DESCRIPTOR):
        for subscript, part in _parts(message, field):
            where = f"{path}{field.name}{subscript}"
            kind = part.DESCRIPTOR.full_name
            if kind not in _RULES:
                yield from unsound_fields(part, f"{where}.")
            elif not is_sound(part):
                yield where, _ADVICE.get(kind, "must have a kind, finite numbers and no endless depth")


def _parts(message: Message, field: FieldDescriptor) -> Iterable[tuple[str, Message]]:
    """The messages in a field, each with its subscript as callers write it."""
    value = getattr(message, field.name)
    # first of all, for a Struct counts as a Mapping too
    if not field.is_repeated:
        return [("", value)] if message.HasField(field.name) else []
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", value[key]) for key in value]
    return [(f"[{index}]", part) for index, part in enumerate(value)]


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


def _decodes(data: Any, depth: int = 0) -> bool:
    """Whether an Any holds a known message that decodes and prints: an unprintable one would cut the stream of every reader."""
    if not data.type_url and not data.value:
        return True
    try:
        message = contracts.message_class(data.TypeName()).FromString(data.value)
    except (KeyError, DecodeError):
        return False
    return is_sound(message, depth + 1)


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
