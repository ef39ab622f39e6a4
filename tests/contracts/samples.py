"""A filled message for any type of the contracts: every field set, the same each time."""

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from tooloo.event.v1 import event_pb2

from mesh import contracts
from mesh.contracts import EventType

_T = FieldDescriptor
_DEPTH = 4
_SCALARS: dict[int, Callable[[FieldDescriptor], Any]] = {
    _T.TYPE_STRING: lambda field: f"{field.name} {field.number}",
    _T.TYPE_BYTES: lambda field: field.name.encode(),
    _T.TYPE_BOOL: lambda field: True,
    _T.TYPE_DOUBLE: lambda field: field.number + 0.5,
    _T.TYPE_FLOAT: lambda field: field.number + 0.5,
    _T.TYPE_ENUM: lambda field: field.enum_type.values[-1].number if field.enum_type else 0,
}


def filled(full_name: str, depth: int = _DEPTH) -> Message:
    """A message whose every field has a value, but one of each oneof; nested ones down to `depth`."""
    message = contracts.message_class(full_name)()
    for field in contracts.pool().FindMessageTypeByName(full_name).fields:
        chosen = field.containing_oneof
        if chosen is None or chosen.fields[0].name == field.name:
            _fill(message, field, depth)
    return message


def _fill(message: Message, field: FieldDescriptor, depth: int) -> None:
    value = _value(field, depth)
    if value is None:
        return
    if field.message_type and field.message_type.GetOptions().map_entry:
        _fill_map(message, field, value)
    elif field.is_repeated:
        getattr(message, field.name).append(value)
    elif field.message_type:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def _fill_map(message: Message, field: FieldDescriptor, entry: tuple[Any, Any]) -> None:
    target, (key, value) = getattr(message, field.name), entry
    if isinstance(value, Message):
        target[key].CopyFrom(value)
    else:
        target[key] = value


def _value(field: FieldDescriptor, depth: int) -> Any:
    if field.message_type is None:
        scalar = _SCALARS.get(field.type)
        return scalar(field) if scalar else field.number
    name = field.message_type.full_name
    if field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return _value(key, depth), _value(value, depth)
    # Any has no value of its own, and Struct and its kin stay empty: what they hold is no contract
    if depth == 0 or name in (
        "google.protobuf.Any",
        "google.protobuf.Struct",
        "google.protobuf.Value",
        "google.protobuf.ListValue",
    ):
        return None
    return filled(name, depth - 1)


def event_of(entry: EventType) -> event_pb2.Event:
    """An event of this type with every field of the envelope and of its data set."""
    event = event_pb2.Event(
        id="018f0000-0000-7000-8000-000000000001",
        type=entry.type,
        source=entry.owner,
        subject="users/ada",
        correlation_id="018f0000-0000-7000-8000-000000000002",
        causation_id="018f0000-0000-7000-8000-000000000003",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        position=7,
        attributes={"user": "ada"},
    )
    event.time.FromJsonString("2026-01-02T03:04:05.000000006Z")
    event.data.Pack(filled(entry.message))
    return event
