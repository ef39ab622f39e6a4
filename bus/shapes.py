"""The shapes of event messages for the scanner, made from their descriptors: what a field may hold, and where to look twice."""

from collections.abc import Iterable, Sequence

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from bus.native import KnownType, Shape
from mesh import contracts

_VARINT, _FIXED64, _FIXED32, _STRING, _BYTES, _MESSAGE, _TIMESTAMP, _DURATION, _UNSURE = range(9)
_F = FieldDescriptor
_NUMBERS = {
    **dict.fromkeys((_F.TYPE_DOUBLE, _F.TYPE_FIXED64, _F.TYPE_SFIXED64), _FIXED64),
    **dict.fromkeys((_F.TYPE_FLOAT, _F.TYPE_FIXED32, _F.TYPE_SFIXED32), _FIXED32),
    _F.TYPE_STRING: _STRING,
    _F.TYPE_BYTES: _BYTES,
    _F.TYPE_GROUP: _UNSURE,
}
_SPECIAL = {
    "google.protobuf.Timestamp": _TIMESTAMP,
    "google.protobuf.Duration": _DURATION,
    # what these hold has to be looked at by mesh/soundness.py
    **dict.fromkeys(
        (f"google.protobuf.{name}" for name in ("Any", "Struct", "Value", "ListValue", "FieldMask")),
        _UNSURE,
    ),
}


def known_types(numbers: Iterable[tuple[int, str, str]]) -> tuple[Sequence[KnownType], Sequence[Shape]]:
    """The scanner's tables for a log's types, given as (number, type, source); those that the contracts dropped are left out."""
    catalogue = contracts.catalogue()
    shapes = _Shapes()
    types = [
        KnownType(number, name, source, f"type.googleapis.com/{entry.message}", shapes.index_of(_descriptor(entry.message)))
        for number, name, source in numbers
        if (entry := catalogue.get(name)) and entry.owner == source
    ]
    return types, shapes.made()


def _descriptor(message: str) -> Descriptor:
    return contracts.pool().FindMessageTypeByName(message)


class _Shapes:
    """Gives each message an index; messages may hold each other, so an index comes before its shape."""

    def __init__(self) -> None:
        self._indexes: dict[str, int] = {}
        self._shapes: list[Shape] = []

    def index_of(self, message: Descriptor) -> int:
        known = self._indexes.get(message.full_name)
        if known is not None:
            return known
        index = self._indexes[message.full_name] = len(self._shapes)
        self._shapes.append(Shape(()))
        self._shapes[index] = Shape([self._row(field) for field in sorted(message.fields, key=lambda field: field.number)])
        return index

    def made(self) -> Sequence[Shape]:
        return self._shapes

    def _row(self, field: FieldDescriptor) -> tuple[int, int, bool, int]:
        inner = field.message_type
        if inner is None or field.type == _F.TYPE_GROUP:
            return field.number, _NUMBERS.get(field.type, _VARINT), field.is_repeated, 0
        if special := _SPECIAL.get(inner.full_name):
            return field.number, special, field.is_repeated, 0
        return field.number, _MESSAGE, field.is_repeated, self.index_of(inner)
