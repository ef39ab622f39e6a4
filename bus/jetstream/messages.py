"""Events as messages and back: one event is one message, whose payload is the event's own bytes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from bus.batches import Append, Batch, encode_types
from bus.jetstream.connection import MESSAGE_ID, Incoming, Outgoing
from bus.jetstream.subjects import nats_subject, type_and_subject

_CONTENT_TYPE = "application/protobuf;proto=tooloo.event.v1.Event"
_EVENTS_FIELD = b"\x0a"
_UUID_BYTES = 16
_UUID_TEXT = 36
_SEVEN_BITS, _MORE = 0x7F, 0x80


@dataclass(frozen=True, slots=True)
class Item:
    """An event on its way into the stream, or out of it."""

    key: bytes
    event_type: str
    subject: str
    payload: bytes


def items_of(append: Append) -> list[Item]:
    """The events of a publish, each with what its message needs. The only place that knows how a publish is prepared."""
    return [
        Item(key, event.type, event.subject, event.SerializeToString())
        for key, event in zip(append.keys, append.events, strict=True)
    ]


def message_of(item: Item, prefix: str) -> Outgoing:
    """The message in which an event is stored."""
    headers = {MESSAGE_ID: message_id(item.key), "Content-Type": _CONTENT_TYPE}
    return Outgoing(nats_subject(prefix, item.event_type, item.subject), item.payload, headers)


def item_of(message: Incoming, prefix: str) -> Item | None:
    """The event in a stored message; None when no bus wrote it."""
    event_type, subject = type_and_subject(prefix, message.subject)
    key = key_of(message.headers.get(MESSAGE_ID, ""))
    return Item(key, event_type, subject, message.payload) if event_type and key else None


def message_id(key: bytes) -> str:
    """The id by which NATS knows an event: its uuid, then its source, e.g. "018f…-….learning"."""
    return f"{UUID(bytes=key[:_UUID_BYTES])}.{key[_UUID_BYTES:].decode()}"


def key_of(identifier: str) -> bytes:
    """The inverse of message_id(); empty when it is no id of ours."""
    try:
        return UUID(identifier[:_UUID_TEXT]).bytes + identifier[_UUID_TEXT + 1 :].encode()
    except ValueError:
        return b""


def batches_of(entries: Iterable[tuple[int, int, bytes]], time_us: int, max_bytes: int) -> Iterator[Batch]:
    """Batches of (position, type id, payload), ascending; what is not consecutive, or too large, begins another one."""
    first, ids, pieces, size = 0, list[int](), list[bytes](), 0
    for position, type_id, payload in entries:
        if ids and (position != first + len(ids) or size + len(payload) > max_bytes):
            yield _batch(first, ids, time_us, pieces)
            ids, pieces, size = [], [], 0
        first = first if ids else position
        ids.append(type_id)
        pieces += (_EVENTS_FIELD, _varint(len(payload)), payload)
        size += len(payload)
    if ids:
        yield _batch(first, ids, time_us, pieces)


def _batch(first: int, ids: Sequence[int], time_us: int, pieces: Sequence[bytes]) -> Batch:
    return Batch(first, first + len(ids) - 1, time_us, encode_types(ids), b"".join(pieces))


def _varint(number: int) -> bytes:
    """A length as protobuf writes it."""
    encoded = bytearray()
    while number > _SEVEN_BITS:
        encoded.append(number & _SEVEN_BITS | _MORE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
