"""The bytes of a request to publish: framing by hand what protobuf would take three times as long for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tooloo.bus.v1.bus_service_pb2 import PublishRequest
from tooloo.event.v1.event_pb2 import Event

# tags of PublishStreamRequest: `events` (field 1, bytes) and `sequence` (field 20, a varint)
_EVENTS, _SEQUENCE = b"\x0a", b"\xa0\x01"


def events_field(events: Sequence[Event]) -> bytes:
    """Events as `repeated Event events = 1`; most publishes are of one."""
    if len(events) > 1:
        return PublishRequest(events=events).SerializeToString()
    body = events[0].SerializeToString()
    return _header(len(body)) + body


def stream_request(bodies: Sequence[bytes], sequence: int) -> bytes:
    """A PublishStreamRequest of such events with its number."""
    return b"".join([*bodies, _SEQUENCE, _varint(sequence)])


def _varint(value: int) -> bytes:
    if value < 0x80:  # noqa: PLR2004 - seven bits a byte
        return bytes((value,))
    if value < 0x4000:  # noqa: PLR2004 - most events
        return bytes((value & 0x7F | 0x80, value >> 7))
    out = bytearray()
    while value >= 0x80:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@lru_cache(maxsize=1024)
def _header(length: int) -> bytes:
    """What stands before an event; lengths repeat themselves, and a lookup takes a third of the time."""
    return _EVENTS + _varint(length)
