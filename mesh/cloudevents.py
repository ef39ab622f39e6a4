"""Events as CloudEvents 1.0 in the JSON event format, and back: for publishers and listeners that are no gRPC clients.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from google.protobuf import any_pb2, json_format
from google.protobuf.message import DecodeError, Message
from tooloo.error.v1.error_reason_pb2 import ErrorReason
from tooloo.event.v1.event_pb2 import Event

from mesh import contracts

T = TypeVar("T")
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"
PROTOBUF = "application/protobuf"
_VERSION = "1.0"
_TYPE_PREFIX = "type.googleapis.com/"
# `dataschema` must be a URI with a scheme, which a type URL leaves out
_SCHEMA_PREFIX = f"https://{_TYPE_PREFIX}"
_PLAIN = ("id", "type", "source", "subject")
# our fields that CloudEvents knows as extension attributes; their names may have no underscore there
_EXTENSIONS = {"correlation_id": "correlationid", "causation_id": "causationid", "traceparent": "traceparent"}
# names that no attribute of an event may have: they are CloudEvents' own, or carry our own fields
RESERVED = frozenset(
    {
        *_PLAIN,
        *_EXTENSIONS.values(),
        *("specversion", "time", "datacontenttype", "dataschema", "data", "data_base64", "position"),
    }
)
_JSON_TYPE = re.compile(r"^[a-z]+/(?:[a-z0-9.-]+\+)?json\s*(?:;|$)", re.IGNORECASE)
_PROTOBUF_TYPE = re.compile(r"^application/(?:x-)?protobuf\s*(?:;|$)", re.IGNORECASE)
# what reading an attribute may stumble over, e.g. a whole number that is infinite
_UNREADABLE = (ValueError, TypeError, AttributeError, KeyError, OverflowError, DecodeError, json_format.Error, RecursionError)
_INVALID = ErrorReason.ERROR_REASON_INVALID_FIELD
_UNKNOWN = ErrorReason.ERROR_REASON_UNKNOWN_EVENT_TYPE
_MISMATCH = ErrorReason.ERROR_REASON_EVENT_DATA_MISMATCH


class NotACloudEventError(ValueError):
    """What was given cannot be one of our events: `field` names the attribute at fault, the message says what would be right."""

    def __init__(self, field: str, text: str, reason: ErrorReason.ValueType = _INVALID) -> None:
        super().__init__(f"{field}: {text}" if field else text)
        self.field = field
        self.text = text
        self.reason = reason


def to_cloudevent(event: Event, *, whole: bool = False) -> dict[str, Any]:
    """The event as a JSON-able dictionary; NotACloudEventError for an attribute with a reserved name.

    Data is the message as JSON; one that the contracts do not know (any more) is `data_base64`, its bytes. With `whole`, so is one
    with fields that they do not know, e.g. of a newer publisher: JSON would leave them out.
    """
    if taken := sorted(RESERVED & set(event.attributes)):
        raise NotACloudEventError(f"attributes[{taken[0]!r}]", "CloudEvents keeps this name for itself")
    written = {"specversion": _VERSION} | {name: getattr(event, name) for name in _PLAIN}
    written |= {"time": event.time.ToJsonString(), "dataschema": f"{_SCHEMA_PREFIX}{event.data.TypeName()}"}
    written |= {name: getattr(event, field) for field, name in _EXTENSIONS.items() if getattr(event, field)}
    if event.position:
        # CloudEvents' integers have 32 bits, so a position is text
        written["position"] = str(event.position)
    return {**written, **event.attributes, **_payload(event.data, whole=whole)}


def from_cloudevent(given: object) -> Event:
    """The event that a CloudEvent tells; NotACloudEventError for what is none of ours. The rules of Publish are not checked here.

    An attribute may be absent or null; what is no text among the extensions is taken in CloudEvents' own spelling.
    """
    if not isinstance(given, Mapping):
        raise NotACloudEventError("", "a CloudEvent is a JSON object")
    present = {name: value for name, value in given.items() if value is not None}
    if present.get("specversion") != _VERSION:
        raise NotACloudEventError("specversion", f'must be "{_VERSION}"')
    event = Event(position=_position(present))
    for name in _PLAIN:
        setattr(event, name, _text(name, present.get(name, "")))
    for field, name in _EXTENSIONS.items():
        setattr(event, field, _text(name, present.get(name, "")))
    if "time" in present:
        # RFC 3339 lets "t" and "z" stand for "T" and "Z", which protobuf does not
        _read("time", lambda: event.time.FromJsonString(_text("time", present["time"]).upper()), "a time of RFC 3339")
    event.data.CopyFrom(_data(event.type, present))
    for name in present.keys() - RESERVED:
        event.attributes[_text("", name)] = _text(name, present[name])
    return event


def _payload(data: any_pb2.Any, *, whole: bool) -> dict[str, Any]:
    with suppress(KeyError, TypeError, DecodeError, json_format.Error):
        message = contracts.message_class(data.TypeName()).FromString(data.value)
        if not (whole and _has_unknown_fields(message)):
            return {"datacontenttype": JSON, "data": json_format.MessageToDict(message, descriptor_pool=contracts.pool())}
    return {"datacontenttype": PROTOBUF, "data_base64": base64.b64encode(data.value).decode()}


def _has_unknown_fields(message: Message) -> bool:
    size = message.ByteSize()
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known.ByteSize() != size


def _data(event_type: str, present: Mapping[str, Any]) -> any_pb2.Any:
    known = contracts.catalogue().get(event_type)
    if known is None:
        raise NotACloudEventError(
            "type", f"{event_type!r} is not in the catalogue; GET /api/v1/events/catalogue lists it", _UNKNOWN
        )
    schema = _text("dataschema", present.get("dataschema", known.message))
    if schema.removeprefix("https://").removeprefix(_TYPE_PREFIX) != known.message:
        raise NotACloudEventError("dataschema", f"{event_type} carries {_SCHEMA_PREFIX}{known.message}", _MISMATCH)
    if ("data" in present) == ("data_base64" in present):
        raise NotACloudEventError("data", f"give either data, a {known.message} as JSON, or data_base64, its bytes", _MISMATCH)
    packed = any_pb2.Any()
    packed.Pack(_message(contracts.message_class(known.message), present))
    return packed


def _message(kind: type[Message], present: Mapping[str, Any]) -> Message:
    content_type = _text("datacontenttype", present.get("datacontenttype", JSON))
    as_json, as_bytes = _JSON_TYPE.match(content_type), _PROTOBUF_TYPE.match(content_type)
    if not as_json and not (as_bytes and "data_base64" in present):
        raise NotACloudEventError("datacontenttype", f"must be {JSON}, or {PROTOBUF} with data_base64", _MISMATCH)
    what = f"a {kind.DESCRIPTOR.full_name}"
    if "data" in present:
        return _read("data", lambda: _parse(present["data"], kind), what)
    encoded = _text("data_base64", present["data_base64"])
    raw = _read("data_base64", lambda: base64.b64decode(encoded, validate=True), "text in base64")
    decode = kind.FromString if as_bytes else lambda body: _parse(json.loads(body), kind)
    return _read("data_base64", lambda: decode(raw), what)


def _parse(value: Any, kind: type[Message]) -> Message:
    return json_format.ParseDict(value, kind(), descriptor_pool=contracts.pool())


def _read(field: str, work: Callable[[], T], what: str) -> T:
    """What `work` reads out of an attribute; whatever it stumbles over is the attribute's fault."""
    try:
        return work()
    except NotACloudEventError:
        raise
    except _UNREADABLE as error:
        reason = _MISMATCH if field.startswith("data") else _INVALID
        raise NotACloudEventError(field, f"is not {what}: {error}", reason) from error


def _position(present: Mapping[str, Any]) -> int:
    given = present.get("position", 0)
    return _read("position", lambda: Event(position=int(given)).position, 'a position, e.g. "42"')


def _text(name: str, value: object) -> str:
    """An attribute as text: CloudEvents writes booleans as true and false, and integers in decimal."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return _read(name, lambda: Event(id=str(value)).id, "text")
    raise NotACloudEventError(name, "must be text, a whole number, true or false")
