"""Events as messages and back: one event is one message, whose payload is the event's own bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from bus import native
from bus.batches import Append, Batch
from bus.jetstream.connection import MESSAGE_ID, Incoming, Outgoing
from bus.jetstream.subjects import nats_subject, type_and_subject
from bus.jetstream.types import Types

_CONTENT_TYPE = "application/protobuf;proto=tooloo.event.v1.Event"
_EVENTS_FIELD = b"\x0a"
_UUID_TEXT = 36
_SEVEN_BITS, _MORE = 0x7F, 0x80
_NUMBER_BYTES = 2


@dataclass(frozen=True, slots=True)
class Item:
    """An event on its way into the stream, or out of it; `encoded` as the field `events` of a record holds it."""

    key: bytes
    type_number: int
    subject: str
    encoded: bytes

    @property
    def payload(self) -> bytes:
        """The event's own bytes, without the field's tag and length."""
        start = 1
        while self.encoded[start] & _MORE:
            start += 1
        return self.encoded[start + 1 :]


def items_of(append: Append, types: Types) -> list[Item]:
    """The events of a publish, each with what its message needs. The only place that knows how a publish is prepared."""
    starts = native.event_starts(append.events, append.count)
    numbers = memoryview(append.types).cast("H")
    size = native.ID_BYTES
    return [
        Item(
            append.ids[size * index : size * (index + 1)] + types.source_of(numbers[index]).encode(),
            numbers[index],
            append.subjects[index].decode(),
            append.events[starts[index] : starts[index + 1]],
        )
        for index in range(append.count)
    ]


def message_of(item: Item, types: Types, prefix: str) -> Outgoing:
    """The message in which an event is stored."""
    headers = {MESSAGE_ID: message_id(item.key), "Content-Type": _CONTENT_TYPE}
    return Outgoing(nats_subject(prefix, types.name_of(item.type_number), item.subject), item.payload, headers)


def item_of(message: Incoming, types: Types, prefix: str) -> Item | None:
    """The event in a stored message; None when no bus wrote it."""
    event_type, subject = type_and_subject(prefix, message.subject)
    key, number = key_of(message.headers.get(MESSAGE_ID, "")), types.number_of(event_type)
    if not key or not number:
        return None
    return Item(key, number, subject, _EVENTS_FIELD + _varint(len(message.payload)) + message.payload)


def message_id(key: bytes) -> str:
    """The id by which NATS knows an event: its uuid, then its source, e.g. "018f…-….learning"."""
    return f"{UUID(bytes=key[: native.ID_BYTES])}.{key[native.ID_BYTES :].decode()}"


def key_of(identifier: str) -> bytes:
    """The inverse of message_id(); empty when it is no id of ours."""
    try:
        return UUID(identifier[:_UUID_TEXT]).bytes + identifier[_UUID_TEXT + 1 :].encode()
    except ValueError:
        return b""


def batches_of(entries: Iterable[tuple[int, Item]], time_us: int, max_bytes: int) -> Iterator[Batch]:
    """Batches of events at ascending positions; what is not consecutive, or too large, begins another one."""
    first = size = 0
    items: list[Item] = []
    for position, item in entries:
        if items and (position != first + len(items) or size + len(item.encoded) > max_bytes):
            yield _batch(first, items, time_us)
            items, size = [], 0
        first = first if items else position
        items.append(item)
        size += len(item.encoded)
    if items:
        yield _batch(first, items, time_us)


def _batch(first: int, items: Sequence[Item], time_us: int) -> Batch:
    types = b"".join(item.type_number.to_bytes(_NUMBER_BYTES, "little") for item in items)
    return Batch(first, first + len(items) - 1, time_us, types, b"".join(item.encoded for item in items))


def _varint(number: int) -> bytes:
    """A length as protobuf writes it."""
    encoded = bytearray()
    while number > _SEVEN_BITS:
        encoded.append(number & _SEVEN_BITS | _MORE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
