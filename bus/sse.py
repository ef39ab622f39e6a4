"""Server-Sent Events (WHATWG HTML): events as `id:`, `event:` and `data:` lines that a browser resumes from."""

import base64
import json
from collections import OrderedDict
from typing import Any

from google.protobuf import json_format
from tooloo.event.v1.event_pb2 import Event

from bus.slices import Slice
from mesh import contracts, errors

CONTENT_TYPE = "text/event-stream"
LAST_EVENT_ID = "last-event-id"
# digits that surely fit a signed 64-bit integer
_LONGEST_POSITION = 18


def opening(retry_ms: int) -> bytes:
    """What a stream begins with: how long a browser waits before it comes back."""
    return f"retry: {retry_ms}\n\n".encode()


def event(message: Event) -> bytes:
    """One event, with its zero values as in all of REST; its position is the id that a browser sends back as Last-Event-ID."""
    try:
        document = _document(message)
    except TypeError:
        # json_format's word for an Any whose type the contracts do not have (any more): one such event must not end every stream
        document = _without_contract(message)
    return f"id: {message.position}\nevent: {message.type}\ndata: {json.dumps(document, ensure_ascii=False)}\n\n".encode()


class Written:
    """Events as they were last written for a stream: live followers want the same ones at the same time, and writing costs most."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self._texts: OrderedDict[tuple[int, bytes], bytes] = OrderedDict()

    def of(self, piece: Slice) -> bytes:
        """The events of a slice; the oldest texts are let go where there is no room."""
        key = piece.positions[0], piece.events
        text = self._texts.get(key)
        if text is None:
            text = b"".join(event(each) for each in piece.decode())
            self._keep(key, text)
        return text

    def _keep(self, key: tuple[int, bytes], text: bytes) -> None:
        self._texts[key] = text
        self._held += len(key[1]) + len(text)
        while self._held > self._max_bytes:
            (_, events), oldest = self._texts.popitem(last=False)
            self._held -= len(events) + len(oldest)


def _document(message: Event) -> dict[str, Any]:
    document: dict[str, Any] = json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, descriptor_pool=contracts.pool()
    )
    return document


def _without_contract(message: Event) -> dict[str, Any]:
    """The event with its data as bytes in base64."""
    envelope = Event()
    envelope.CopyFrom(message)
    envelope.ClearField("data")
    data = {"@type": message.data.type_url, "base64": base64.b64encode(message.data.value).decode()}
    return {**_document(envelope), "data": data}


def heartbeat(progress: int, head: int) -> bytes:
    """A sign of life. The id moves the bookmark and, without data, dispatches nothing."""
    return f": heartbeat head={head}\nid: {progress}\n\n".encode()


def failure(refusal: errors.Refusal) -> bytes:
    """The last message of a stream that ends with a refusal: over HTTP/1.1 nothing else would show it."""
    return _last("error", {"code": refusal.code.name, "reason": refusal.reason, "message": refusal.message})


def farewell() -> bytes:
    """The last message of a stream that ends because the bus drains; coming back resumes."""
    return _last("end", {"reason": "DRAINING"})


def position_of(last_event_id: str) -> int | None:
    """The position in a Last-Event-ID header; None when the header is empty, INVALID_ARGUMENT when it holds no position."""
    text = last_event_id.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_POSITION):
        raise errors.invalid("Last-Event-ID", "must be an id that this stream gave, e.g. 42")
    return int(text)


def _last(name: str, data: dict[str, str]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
