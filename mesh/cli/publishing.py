"""What `tooloo events publish` sends: an event out of its type and fields, or CloudEvents out of a file."""

from __future__ import annotations

import json
from typing import Any

from mesh.cli import requests
from mesh.cli.console import Code, Failure
from mesh.cli.grouping import near
from mesh.cli.schema import Rpc, Schema
from mesh.ids import new_id

_STRUCTURED, _BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


def event(schema: Schema, rpc: Rpc, type_name: str, words: tuple[str, ...], attributes: dict[str, Any]) -> Any:
    """A request that publishes one event; Failure for an unknown type or a field that it does not have."""
    if type_name not in schema.events:
        known = near(type_name, list(schema.events))
        hint = f"did you mean {' or '.join(known)}?" if known else "tooloo bus list-event-types lists them"
        raise Failure(f"{type_name!r} is no event type of the contracts", hint, Code.USAGE)
    message_name, owner = schema.events[type_name]
    data = requests.of_message(schema, message_name, words)
    request = schema.new(rpc.request)
    told = request.events.add()  # type: ignore[attr-defined] # a message of the pool has no type
    told.id, told.type, told.source, told.subject = new_id(), type_name, attributes["source"] or owner, attributes["subject"]
    told.correlation_id, told.causation_id = attributes["correlation_id"], attributes["causation_id"]
    told.time.GetCurrentTime()
    told.data.Pack(data)
    return request


def cloud_events(schema: Schema, rpc: Rpc, text: str) -> Any:
    """A request that publishes CloudEvents given as JSON: one, a list, or one a line."""
    given = _read(text)
    kind = _STRUCTURED if isinstance(given, dict) else _BATCH
    return type(schema.new(rpc.request))(content_type=kind, data=json.dumps(given).encode())


def _read(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as whole:
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError:
            raise Failure(f"no JSON: {whole}", "give one CloudEvent, a list of them, or one a line", Code.USAGE) from whole
