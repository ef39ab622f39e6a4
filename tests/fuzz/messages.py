"""Requests at random, as bytes: some that a careful caller could mean, some that no caller means, some that are no messages."""

from random import Random
from typing import Any
from uuid import UUID

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from tooloo.event.v1.event_pb2 import Event

from mesh import contracts
from mesh.soundness import is_sound
from tests.fuzz.world import Known

_T = FieldDescriptor
_DEPTH = 5
_STRINGS = (
    *("", "a", "python", "users/ada", "018f0000-0000-7000-8000-000000000001", "*", "${nodes.info.version}", "0 3 * * *"),
    *(
        "tooloo.system.v1.SystemService/GetSystemInfo",
        "badge.earned",
        "Europe/Berlin",
        "USD",
        "../../etc/passwd",
        "'; DROP TABLE runs;--",
    ),
    *("\0", "\u202e\U0001f600\ufffe", "a\nb", "x" * 5000, "%s%n{0}", "-1", "NaN"),
)
_INTS = (0, 1, 2, 7, 50, 1000, 10**6, 10**9, 253402300799, 253402300800, 2**31 - 1, 2**32 - 1, 2**63 - 1)
_FLOATS = (0.0, 0.5, 1.0, -1.0, 1e-320, 1.8e308, float("inf"), float("-inf"), float("nan"))
# booleans and enums, of which some have as many values
_SMALL = (0, 1, 1, 2, 3, 11)
_RANGES = {
    **dict.fromkeys((_T.TYPE_INT32, _T.TYPE_SINT32, _T.TYPE_SFIXED32), (-(2**31), 2**31 - 1)),
    **dict.fromkeys((_T.TYPE_INT64, _T.TYPE_SINT64, _T.TYPE_SFIXED64), (-(2**63), 2**63 - 1)),
    **dict.fromkeys((_T.TYPE_UINT32, _T.TYPE_FIXED32), (0, 2**32 - 1)),
    **dict.fromkeys((_T.TYPE_UINT64, _T.TYPE_FIXED64), (0, 2**64 - 1)),
}
# a call of the system that is meant seriously would stop a service under test
_NEVER_KNOWN = ("service",)


class Requests:
    """Makes requests from a seed; `known` holds values that lead somewhere, by the name of their field."""

    def __init__(self, random: Random, known: Known) -> None:
        self._random = random
        self._known = known

    def draw(self, request: type[Message]) -> bytes:
        """The next request: mostly a message, now and then a spoilt one or noise."""
        kind = self._random.random()
        if kind < 0.1:
            return self._random.randbytes(self._random.randrange(1, 200))
        whole = self._message(contracts.pool().FindMessageTypeByName(request.DESCRIPTOR.full_name), 0).SerializeToString()
        return self._spoilt(whole) if kind < 0.3 else whole

    def event(self) -> Event:
        """An event of the catalogue whose data is anything that its message can hold."""
        event = Event()
        while True:
            self._mean(event)
            if is_sound(event):
                return event

    def _spoilt(self, whole: bytes) -> bytes:
        changed = bytearray(whole)
        for _ in range(min(3, len(changed))):
            changed[self._random.randrange(len(changed))] = self._random.randrange(256)
        return bytes(changed[: self._random.randrange(len(changed) + 1)] if self._random.random() < 0.3 else changed)

    def _message(self, descriptor: Descriptor, depth: int) -> Message:
        message = contracts.message_class(descriptor.full_name)()
        if descriptor.full_name == "google.protobuf.Any":
            self._pack(message, depth)
            return message
        # most fields are needed for a request to be meant seriously
        share = self._random.choice((0.3, 0.9))
        for field in descriptor.fields:
            if self._random.random() < share and (depth < _DEPTH or not field.message_type):
                self._fill(message, field, depth)
        return message

    def _mean(self, event: Event) -> None:
        told = self._random.choice(list(contracts.catalogue().values()))
        event.id = str(UUID(int=self._random.getrandbits(128), version=4))
        event.type, event.source, event.subject = told.type, told.owner, self._random.choice(("users/ada", "x"))
        event.time.FromSeconds(self._random.choice((0, 1_700_000_000, 4_000_000_000)))
        event.data.Pack(self._message(contracts.pool().FindMessageTypeByName(told.message), 1))

    def _pack(self, holder: Any, depth: int) -> None:
        told = self._random.choice(list(contracts.catalogue().values()))
        holder.Pack(self._message(contracts.pool().FindMessageTypeByName(told.message), depth + 1))
        if self._random.random() < 0.2:
            holder.value = self._random.randbytes(9)

    def _fill(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type and field.message_type.GetOptions().map_entry:
            self._fill_map(message, field, depth)
        elif field.is_repeated:
            for _ in range(self._random.randrange(4)):
                value = self._value(field, depth)
                getattr(message, field.name).append(value)
        elif field.message_type:
            getattr(message, field.name).CopyFrom(self._value(field, depth))
        else:
            setattr(message, field.name, self._value(field, depth))

    def _fill_map(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        entry = field.message_type
        assert entry is not None
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        for _ in range(self._random.randrange(3)):
            name = self._value(key, depth)
            if value.message_type:
                getattr(message, field.name)[name].CopyFrom(self._value(value, depth))
            else:
                getattr(message, field.name)[name] = self._value(value, depth)

    def _value(self, field: FieldDescriptor, depth: int) -> Any:
        if field.message_type:
            return self._message(contracts.pool().FindMessageTypeByName(field.message_type.full_name), depth + 1)
        if field.type in _RANGES:
            low, high = _RANGES[field.type]
            return max(low, min(self._random.choice(_INTS) * self._random.choice((1, 1, 1, -1)), high))
        if field.type == _T.TYPE_STRING:
            return self._string(field)
        if field.type == _T.TYPE_BYTES:
            return self._random.randbytes(self._random.randrange(50))
        return self._random.choice(_FLOATS if field.type in (_T.TYPE_DOUBLE, _T.TYPE_FLOAT) else _SMALL)

    def _string(self, field: FieldDescriptor) -> str:
        known = self._known.get(field.json_name) if field.name not in _NEVER_KNOWN else None
        return self._random.choice(known if known and self._random.random() < 0.7 else _STRINGS)
