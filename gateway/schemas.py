"""Messages as JSON Schema by the proto3 JSON mapping, once as callers send them and once as the door answers them."""

from collections.abc import Callable, Iterable
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from mesh import prose, rules
from mesh.rules import Schema

INT32, UINT32 = (-(2**31), 2**31 - 1), (0, 2**32 - 1)
INT64, UINT64 = (-(2**63), 2**63 - 1), (0, 2**64 - 1)
_T = FieldDescriptor
_RANGES = {
    **dict.fromkeys((_T.TYPE_INT32, _T.TYPE_SINT32, _T.TYPE_SFIXED32), INT32),
    **dict.fromkeys((_T.TYPE_UINT32, _T.TYPE_FIXED32), UINT32),
    **dict.fromkeys((_T.TYPE_INT64, _T.TYPE_SINT64, _T.TYPE_SFIXED64), INT64),
    **dict.fromkeys((_T.TYPE_UINT64, _T.TYPE_FIXED64), UINT64),
}
_ANY_TYPE: Schema = {
    "type": "object",
    "properties": {"@type": {"type": "string", "description": "URL of the message's type, type.googleapis.com/<full name>."}},
    "required": ["@type"],
    "additionalProperties": True,
}
WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.Empty": {"type": "object"},
    "google.protobuf.Any": _ANY_TYPE,
    "google.protobuf.BoolValue": {"type": "boolean"},
    "google.protobuf.StringValue": {"type": "string"},
    "google.protobuf.DoubleValue": {"type": "number"},
    "google.protobuf.Int32Value": {"type": "integer", "minimum": INT32[0], "maximum": INT32[1]},
    "google.api.HttpBody": {"type": "string", "format": "binary"},
}
# what the rules of google.type.Money say of itself, which its own contract cannot
_MONEY_SENT: Schema = {
    "currencyCode": {"type": "string", "pattern": "^[A-Z]{3}$"},
    "units": {"type": "integer", "format": "int64"},
    "nanos": {"type": "integer", "format": "int32", "minimum": -999_999_999, "maximum": 999_999_999},
}


class Schemas:
    """Collects the component schemas that a document needs while they are referred to."""

    def __init__(self, answered: frozenset[str]) -> None:
        self.components: dict[str, Schema] = {}
        self._answered = answered

    def reference(self, message: Descriptor, *, sent: bool) -> Schema:
        """The schema of a message, by reference; `sent` is true for what callers send.

        A message that goes both ways has two schemas: rules bind what is sent, and every plain field is in what is answered.
        """
        if message.full_name in WELL_KNOWN:
            return dict(WELL_KNOWN[message.full_name])
        name = f"{message.full_name}.Sent" if sent and message.full_name in self._answered else message.full_name
        if sent and message.full_name == "google.type.Money":
            return self._component(name, lambda: {"type": "object", "properties": _MONEY_SENT, "required": ["currencyCode"]})
        return self._component(name, lambda: self.message(message, sent=sent))

    def _component(self, name: str, make: Callable[[], Schema]) -> Schema:
        if name not in self.components:
            self.components[name] = {}
            self.components[name] = make()
        return {"$ref": f"#/components/schemas/{name}"}

    def message(self, message: Descriptor, *, sent: bool, without: frozenset[str] = frozenset()) -> Schema:
        """The object schema of a message; `without` leaves out fields, by name, that the path carries."""
        fields = [field for field in message.fields if field.name not in without]
        schema: Schema = {
            "type": "object",
            "properties": {field.json_name: self.field(field, sent=sent) for field in fields},
        }
        if text := prose.of(message.full_name):
            schema["description"] = text
        present = [field.json_name for field in fields if (rules.required(field) if sent else always_answered(field))]
        if present:
            schema["required"] = present
        if sent:
            # unknown fields are dropped, but not one without a name
            schema["propertyNames"] = {"minLength": 1}
        if sent and (choices := _choices(message, without)):
            schema["allOf"] = choices
        return schema

    def field(self, field: FieldDescriptor, *, sent: bool) -> Schema:
        """The schema of a field's value with its comment."""
        schema = self._repeated(field, sent=sent) if field.is_repeated else self._single(field, _own_rules(field, sent), sent=sent)
        text = prose.of(field.full_name)
        return schema | {"description": text} if text else schema

    def _repeated(self, field: FieldDescriptor, *, sent: bool) -> Schema:
        own = rules.of_field(field) if sent else validate_pb2.FieldRules()
        if is_map(field):
            return self._map(field, own.map, sent=sent)
        schema: Schema = {"type": "array", "items": self._single(field, rules.kind(own.repeated.items), sent=sent)}
        return schema | rules.sizes(own.repeated)

    def _map(self, field: FieldDescriptor, own: validate_pb2.MapRules, *, sent: bool) -> Schema:
        value = self._single(value_field(field), rules.kind(own.values), sent=sent)
        names = rules.keywords(rules.kind(own.keys))
        schema = {"type": "object", "additionalProperties": value} | rules.sizes(own)
        return schema | ({"propertyNames": names} if names else {})

    def _single(self, field: FieldDescriptor, own: Any, *, sent: bool) -> Schema:
        if field.enum_type:
            return self._enum(field.enum_type, own if isinstance(own, validate_pb2.EnumRules) else None)
        if field.message_type:
            return self.reference(field.message_type, sent=sent) | rules.keywords(own)
        return _scalar(field, sent=sent) | rules.keywords(own)

    def _enum(self, enum: EnumDescriptor, own: validate_pb2.EnumRules | None) -> Schema:
        refused = set(own.not_in) if own else set()
        if refused:
            return {"type": "string", "enum": [value.name for value in enum.values if value.number not in refused]}
        if enum.full_name == "google.protobuf.NullValue":
            return {"type": "null"}
        return self._component(enum.full_name, lambda: _enum_component(enum))


def _enum_component(enum: EnumDescriptor) -> Schema:
    lines = [f"- `{value.name}`: {text}" for value in enum.values if (text := prose.of(f"{enum.full_name}.{value.name}"))]
    text = "\n".join([prose.of(enum.full_name), "", *lines]).strip()
    schema: Schema = {"type": "string", "enum": [value.name for value in enum.values]}
    return schema | {"description": text} if text else schema


def _own_rules(field: FieldDescriptor, sent: bool) -> Any:
    return rules.kind(rules.of_field(field)) if sent else None


def _scalar(field: FieldDescriptor, *, sent: bool) -> Schema:
    if field.type in _RANGES:
        return _integer(field, sent=sent)
    if field.type in (_T.TYPE_DOUBLE, _T.TYPE_FLOAT):
        return {"type": "number", "format": "double" if field.type == _T.TYPE_DOUBLE else "float"}
    if field.type == _T.TYPE_BOOL:
        return {"type": "boolean"}
    if field.type == _T.TYPE_BYTES:
        return {"type": "string", "format": "byte", "contentEncoding": "base64"}
    return {"type": "string"}


def _integer(field: FieldDescriptor, *, sent: bool) -> Schema:
    low, high = _RANGES[field.type]
    wide = high > UINT32[1]
    if wide and not sent:
        # JSON's numbers lose digits beyond 2^53, so 64 bits are answered as text; both are taken
        return {"type": "string", "format": "uint64" if low == 0 else "int64", "pattern": "^-?[0-9]{1,20}$"}
    name = f"{'uint' if low == 0 else 'int'}{64 if wide else 32}"
    return {"type": "integer", "format": name, "minimum": low, "maximum": high}


def always_answered(field: FieldDescriptor) -> bool:
    """True for a field that is in every answer: the door prints zero values too, but not what is unset."""
    return field.is_repeated or not field.has_presence


def is_map(field: FieldDescriptor) -> bool:
    """True for a map field."""
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def value_field(field: FieldDescriptor) -> FieldDescriptor:
    """The field that holds the values of a map."""
    entry = field.message_type
    if entry is None:
        raise TypeError(f"{field.full_name} is no map")
    return entry.fields_by_name["value"]


def reachable(messages: Iterable[Descriptor]) -> frozenset[str]:
    """Full names of these messages and of all that are inside them."""
    found: dict[str, Descriptor] = {}
    waiting = list(messages)
    while waiting:
        message = waiting.pop()
        if message.full_name not in found:
            found[message.full_name] = message
            waiting += [field.message_type for field in message.fields if field.message_type]
    return frozenset(found)


def _choices(message: Descriptor, without: frozenset[str]) -> list[Schema]:
    """At most one field of each oneof, or exactly one when the rules say so."""
    choices = []
    for oneof in message.oneofs:
        names = [field.json_name for field in oneof.fields if field.name not in without]
        if len(names) < 2:  # noqa: PLR2004 - proto3 `optional` is a oneof of one
            continue
        one_each: list[Schema] = [{"required": [name]} for name in names]
        if not oneof.GetOptions().Extensions[validate_pb2.oneof].required:
            one_each.append({"not": {"anyOf": list(one_each)}})
        choices.append({"oneOf": one_each})
    return choices
