"""Fields of a message as rows of a table: name, type, what the rules ask, what the comment says."""

from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from gateway.handbook import markdown
from mesh import prose
from mesh.ruling import sayings

_T = FieldDescriptor
_SCALARS = {
    _T.TYPE_DOUBLE: "number",
    _T.TYPE_FLOAT: "number",
    _T.TYPE_BOOL: "bool",
    _T.TYPE_STRING: "text",
    _T.TYPE_BYTES: "bytes (base64)",
    _T.TYPE_INT64: "int64",
    _T.TYPE_UINT64: "uint64",
    _T.TYPE_UINT32: "uint32",
}
_KNOWN = {
    "google.protobuf.Timestamp": "time (RFC 3339)",
    "google.protobuf.Duration": 'duration ("1.5s")',
    "google.protobuf.Struct": "JSON object",
    "google.protobuf.Value": "JSON value",
    "google.protobuf.ListValue": "JSON array",
    "google.protobuf.FieldMask": "names of fields",
    "google.protobuf.Any": "message with its `@type`",
    "google.protobuf.Empty": "nothing",
    "google.type.Money": "money (`currencyCode`, `units`, `nanos`)",
}


def is_ours(full_name: str) -> bool:
    """True for what our contracts declare, and so explain."""
    return full_name.startswith("tooloo.")


def table(message: Descriptor, *, sent: bool) -> str:
    """The fields as a table; `sent` adds what the rules ask of them. A sentence when there are none."""
    if not message.fields:
        return "It has no fields.\n"
    columns = ("field", "type", "rules", "meaning") if sent else ("field", "type", "meaning")
    return markdown.table(columns, (_row(field, sent=sent) for field in message.fields))


def _row(field: FieldDescriptor, *, sent: bool) -> list[str]:
    oneof = field.containing_oneof
    text = markdown.prose(prose.of(field.full_name))
    if oneof and len(oneof.fields) > 1:
        text = f"One of {', '.join(f'`{each.json_name}`' for each in oneof.fields)}. {text}"
    asked = ["; ".join(sayings(field, markdown.code))] if sent else []
    return [f"`{field.json_name}`", type_of(field), *asked, text]


def type_of(field: FieldDescriptor) -> str:
    """The type as a reader of JSON sees it; messages and enums of ours are links within the page."""
    if field.message_type and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        return f"map of {_single(entry['key'])} to {_single(entry['value'])}"
    return f"list of {_single(field)}" if field.is_repeated else _single(field)


def _single(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    if kind is None:
        return _SCALARS.get(field.type, "int32")
    if is_ours(kind.full_name):
        return f"[{kind.name}](#{markdown.anchor(kind.full_name)})"
    return _KNOWN.get(kind.full_name, f"`{kind.full_name.removeprefix('google.protobuf.')}`")


def reachable(messages: Iterable[Descriptor]) -> tuple[list[Descriptor], list[EnumDescriptor]]:
    """Messages and enums of ours that fields of these lead to, by name."""
    waiting = list(messages)
    seen: dict[str, Descriptor] = {}
    enums: dict[str, EnumDescriptor] = {}
    while waiting:
        for field in waiting.pop().fields:
            if field.enum_type and is_ours(field.enum_type.full_name):
                enums[field.enum_type.full_name] = field.enum_type
            inner = field.message_type
            if inner and inner.full_name not in seen and is_ours(inner.full_name):
                seen[inner.full_name] = inner
                waiting.append(inner)
    found = [each for _, each in sorted(seen.items()) if not each.GetOptions().map_entry]
    return found, [each for _, each in sorted(enums.items())]
