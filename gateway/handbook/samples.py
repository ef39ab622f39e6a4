"""A request that a call takes: its required fields, with the values that their comments give as examples."""

import math
import re
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mesh import contracts, prose, rules

_T = FieldDescriptor
# 'e.g. "ada"' in a comment, and the numbers or words that follow without quotes
_EXAMPLE = re.compile(r'e\.g\. "([^"]+)"')
_UUID = "0199c0de-0000-7000-8000-000000000001"
# what a text may look like, from the most telling on; the first that keeps the rules is taken
_TEXTS = ("ada", _UUID, "python", "metric.logged", "https://example.org/hook", "USD", "a text", "UTC", "0 3 * * *", "1")
_MESSAGES: dict[str, Any] = {
    "google.protobuf.Timestamp": "2026-01-02T03:04:05Z",
    "google.protobuf.Duration": "60s",
    "google.protobuf.Struct": {"key": "value"},
    "google.protobuf.Value": "value",
    "google.protobuf.FieldMask": "name",
    "google.type.Money": {"currencyCode": "USD", "units": "5"},
}
_DEPTH = 5
# an Any holds a message of the contracts; this one is small
_TOLD = {
    "@type": "type.googleapis.com/tooloo.analytics.v1.MetricLogged",
    "name": "tests.passed",
    "value": 1,
    "time": "2026-01-02T03:04:05Z",
}


def sample(request: type[Message]) -> dict[str, Any]:
    """The request as proto3 JSON; a test checks that the contract's rules take it."""
    found = _message(contracts.pool().FindMessageTypeByName(request.DESCRIPTOR.full_name), 0)
    return found if isinstance(found, dict) else {}


def parsed(request: type[Message], content: dict[str, Any]) -> Message:
    """The message that such JSON stands for."""
    message = contracts.message_class(request.DESCRIPTOR.full_name)()
    return json_format.ParseDict(content, message, descriptor_pool=contracts.pool())


def _message(message: Descriptor, depth: int) -> Any:
    if message.full_name in _MESSAGES:
        return _MESSAGES[message.full_name]
    if message.full_name == "google.protobuf.Any":
        return _TOLD
    return {} if depth > _DEPTH else {field.json_name: _value(field, depth) for field in _wanted(message)}


def _wanted(message: Descriptor) -> Iterator[FieldDescriptor]:
    """Fields without which the request is refused, and whose it is; the first of a choice that must be made."""
    first = {oneof.fields[0].name for oneof in message.oneofs if rules.one_required(oneof)}
    for field in message.fields:
        if rules.required(field) or field.name in first or (field.name == "user_id" and not field.containing_oneof):
            yield field


def _value(field: FieldDescriptor, depth: int) -> Any:
    own = rules.kind(rules.of_field(field))
    if field.message_type and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        return {str(_single(entry["key"], own and own.keys, depth)): _single(entry["value"], own and own.values, depth)}  # type: ignore[attr-defined] # MapRules
    if not field.is_repeated:
        return _single(field, rules.of_field(field), depth)
    items = getattr(own, "items", None)
    return [_single(field, items, depth)] * max(1, getattr(own, "min_items", 0))


def _single(field: FieldDescriptor, given: Any, depth: int) -> Any:
    own = rules.kind(given) if given is not None else None
    if field.message_type:
        return _message(field.message_type, depth + 1)
    if field.enum_type:
        return next(value.name for value in field.enum_type.values if value.number)
    if field.type == _T.TYPE_BOOL:
        return True
    if field.type == _T.TYPE_BYTES:
        return "aGVsbG8="
    schema = rules.keywords(own)
    return _text(field, schema) if field.type == _T.TYPE_STRING else _number(schema)


def _text(field: FieldDescriptor, schema: rules.Schema) -> str:
    if "const" in schema or "enum" in schema:
        return str(schema.get("const") or schema["enum"][0])
    if schema.get("format") == "uuid":
        return _UUID
    candidates = [*_EXAMPLE.findall(prose.of(field.full_name)), *_TEXTS]
    fitting = (text for text in candidates if _fits(text, schema))
    return next(fitting, "x" * int(schema.get("minLength", 1)))


def _fits(text: str, schema: rules.Schema) -> bool:
    formats = {"uri": "://", "email": "@"}
    return (
        int(schema.get("minLength", 1)) <= len(text) <= int(schema.get("maxLength", len(text)))
        and re.search(schema.get("pattern", ""), text) is not None
        and formats.get(schema.get("format", ""), "") in text
    )


def _number(schema: rules.Schema) -> int | float:
    if "const" in schema or "enum" in schema:
        return float(schema.get("const") or schema["enum"][0])
    low: float = schema.get("minimum", schema.get("exclusiveMinimum", 0)) or 0
    high: float = schema.get("maximum", schema.get("exclusiveMaximum", math.inf)) or math.inf
    one = max(1, low + (1 if "exclusiveMinimum" in schema else 0))
    return one if one <= high else (low + high) / 2
