"""The events that the bench sends: a hundred types of its own, brought as anybody brings theirs (docs/how-to/own-events.md)."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1 import options_pb2
from tooloo.event.v1.event_pb2 import Event

from mesh.ids import new_id

TYPES = 100
SUBJECTS = 100
OWNER = "bench"
_PACKAGE = "toolbench.v1"
# of the payload field in the encoded message: one byte of tag, two of length for 128 to 16,383 bytes
_FIELD_HEADER = 3
# one step for the whole path, and no line of Python in it
_value_of = attrgetter("data.value")


def names() -> list[str]:
    """The peers' names of the types: t0 to t99, and "warm" for what only warms up."""
    return [*(f"t{number}" for number in range(TYPES)), "warm"]


def type_of(name: str) -> str:
    """The event type that a peer's name stands for."""
    return f"{OWNER}.{name}"


def write_contracts(path: Path) -> None:
    """Writes the descriptor set: a message for each type, with one field of bytes."""
    file = descriptor_pb2.FileDescriptorProto(name="toolbench/v1/bench_events.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append("tooloo/event/v1/options.proto")
    field = descriptor_pb2.FieldDescriptorProto
    for name in names():
        message = file.message_type.add(name=name.title())
        message.field.add(name="payload", number=1, type=field.TYPE_BYTES, label=field.LABEL_OPTIONAL)
        message.options.Extensions[options_pb2.event].CopyFrom(options_pb2.EventOptions(type=type_of(name), owner=OWNER))
    path.write_bytes(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())


class Maker:
    """Makes events fast: each is a copy of its type's model, with an id of its own."""

    def __init__(self) -> None:
        self._models = {name: _model(name, number % SUBJECTS) for number, name in enumerate(names())}
        self._payload = b""
        self._in_turn: list[Event] = []

    def one(self, name: str, payload: bytes) -> Event:
        """An event of a type."""
        event = Event()
        event.CopyFrom(self._models[name])
        event.id = new_id()
        event.data.value = _encoded(payload)
        return event

    def add(self, container: Any, numbers: Iterable[int], payload: bytes) -> None:
        """Adds events of the types in turn, all with one payload. Made where they are sent from: a third of the price of a list."""
        if payload != self._payload:
            self._payload = payload
            self._in_turn = [self.one(f"t{number}", payload) for number in range(TYPES)]
        models, add = self._in_turn, container.add
        for number in numbers:
            event = add()
            event.CopyFrom(models[number % TYPES])
            event.id = new_id()

    def many(self, numbers: Iterable[int], payload: bytes) -> Sequence[Event]:
        """Events of the types in turn, all with one payload."""
        request = pb.PublishRequest()
        self.add(request.events, numbers, payload)
        return request.events


def _model(name: str, subject: int) -> Event:
    event = Event(type=type_of(name), source=OWNER, subject=f"things/{subject}")
    event.time.GetCurrentTime()
    event.data.type_url = f"type.googleapis.com/{_PACKAGE}.{name.title()}"
    return event


def _encoded(payload: bytes) -> bytes:
    """The bench's message with this payload: a tag, a length in two bytes, the bytes."""
    length = len(payload)
    if not 1 << 7 <= length < 1 << 14:
        raise ValueError(f"the bench sends payloads of 128 to 16,383 bytes, not {length}")
    return b"\n" + bytes((length & 0x7F | 0x80, length >> 7)) + payload


def payloads_of(events: Iterable[Event]) -> list[bytes]:
    """The payloads as bytes, as the peers' clients give them: without decoding the message around them."""
    return [value[_FIELD_HEADER:] for value in map(_value_of, events)]
