"""Events as CloudEvents 1.0 in the JSON event format, and back: for listeners that are no gRPC clients.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import any_pb2, json_format
from tooloo.event.v1 import event_pb2

from mesh import contracts

_TYPE_URL = "type.googleapis.com/"
# our fields that CloudEvents knows as extension attributes; their names may have no underscore there
_EXTENSIONS = {"correlation_id": "correlationid", "causation_id": "causationid", "traceparent": "traceparent"}
_OWN = {
    "specversion",
    "id",
    "type",
    "source",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "data_base64",
    "position",
}
_TAKEN = _OWN | set(_EXTENSIONS.values())


class NotACloudEventError(ValueError):
    """What was given cannot be one of our events; the message says why."""


def to_cloudevent(event: event_pb2.Event) -> dict[str, Any]:
    """The event as a JSON-able dictionary; NotACloudEventError for data of no known type or an attribute with a reserved name."""
    if taken := sorted(_TAKEN & set(event.attributes)):
        raise NotACloudEventError(f"the attribute {taken[0]!r} has a name that CloudEvents keeps for itself")
    extensions = {name: getattr(event, field) for field, name in _EXTENSIONS.items() if getattr(event, field)}
    if event.position:
        # CloudEvents' integers have 32 bits, so a position is text
        extensions["position"] = str(event.position)
    return {
        "specversion": "1.0",
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time.ToJsonString(),
        "datacontenttype": "application/json",
        "dataschema": event.data.type_url,
        **extensions,
        **event.attributes,
        "data": _payload(event.data),
    }


def _payload(data: any_pb2.Any) -> dict[str, Any]:
    name = data.type_url.removeprefix(_TYPE_URL)
    try:
        message = contracts.message_class(name).FromString(data.value)
    except KeyError:
        raise NotACloudEventError(f"the contracts have no message {name!r}") from None
    payload: dict[str, Any] = json_format.MessageToDict(message)
    return payload


def from_cloudevent(cloudevent: Mapping[str, Any]) -> event_pb2.Event:
    """The event of a dictionary that `to_cloudevent` made; NotACloudEventError for anything else."""
    if cloudevent.get("specversion") != "1.0":
        raise NotACloudEventError("specversion must be 1.0")
    known = contracts.catalogue().get(str(cloudevent.get("type")))
    if known is None:
        raise NotACloudEventError(f"the catalogue has no event type {cloudevent.get('type')!r}")
    event = event_pb2.Event(position=int(cloudevent.get("position", 0)))
    for name in ("id", "type", "source", "subject"):
        setattr(event, name, cloudevent[name])
    for field, name in _EXTENSIONS.items():
        setattr(event, field, cloudevent.get(name, ""))
    event.time.FromJsonString(cloudevent["time"])
    event.data.Pack(json_format.ParseDict(cloudevent["data"], contracts.message_class(known.message)()))
    event.attributes.update({name: value for name, value in cloudevent.items() if name not in _TAKEN})
    return event
