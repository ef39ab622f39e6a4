"""Scans publishes against the contract: the catalogue as tables for C, and what a scan finds."""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32, c_void_p
from dataclasses import dataclass

from bus.native.library import declare, library_for

ID_BYTES = 16
# what a publish may hold at most, by the contract; a record that neighbours share is found out as it is read
_MAX_PUBLISH = 1000


class _Field(Structure):
    _fields_ = (("number", c_uint32), ("kind", c_uint8), ("repeated", c_uint8), ("message", c_uint16))


class _Message(Structure):
    _fields_ = (("first", c_uint32), ("count", c_uint32))


class _Entry(Structure):
    _fields_ = (
        ("type", c_char_p),
        ("source", c_char_p),
        ("url", c_char_p),
        ("type_size", c_uint16),
        ("source_size", c_uint16),
        ("url_size", c_uint16),
        ("number", c_uint16),
        ("message", c_int32),
    )


class _Catalogue(Structure):
    _fields_ = (
        ("entries", POINTER(_Entry)),
        ("buckets", POINTER(c_uint16)),
        ("mask", c_uint32),
        ("messages", POINTER(_Message)),
        ("fields", POINTER(_Field)),
    )


class _Found(Structure):
    _fields_ = (
        ("ids", c_void_p),
        ("types", c_void_p),
        ("starts", c_void_p),
        ("subjects", c_void_p),
        ("subject_ends", c_void_p),
        ("capacity", c_uint32),
        ("count", c_uint32),
        ("begin", c_uint32),
        ("end", c_uint32),
        ("sequence", c_int64),
    )


declare("scan", c_int, POINTER(_Catalogue), c_char_p, c_size_t, c_uint32, c_int, POINTER(_Found))


@dataclass(frozen=True, slots=True)
class KnownType:
    """An event type as the log knows it: its number there, and the index of its message's shape (-1: none is known)."""

    number: int
    type: str
    source: str
    url: str
    message: int


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of a message, ascending by number: (number, kind, repeated, index of the message's shape)."""

    fields: Sequence[tuple[int, int, bool, int]]


@dataclass(slots=True)
class Scanned:
    """What a publish holds: the run of its events, 16 bytes of each id, a uint16 type number and the subject of each."""

    events: bytes
    count: int
    ids: bytes
    types: bytes
    subjects: list[bytes]
    sequence: int


class Scanner:
    """Scans publishes against a catalogue. For one thread at a time."""

    def __init__(self, types: Sequence[KnownType], shapes: Sequence[Shape], capacity: int = _MAX_PUBLISH) -> None:
        self._catalogue = _catalogue(types, shapes)
        self._capacity = capacity
        self._ids = (c_uint8 * (ID_BYTES * capacity))()
        self._types = (c_uint16 * capacity)()
        self._starts = (c_uint32 * (capacity + 1))()
        self._subjects = (c_uint32 * capacity)()
        self._subject_ends = (c_uint32 * capacity)()
        self._found = _Found(
            ctypes.addressof(self._ids),
            ctypes.addressof(self._types),
            ctypes.addressof(self._starts),
            ctypes.addressof(self._subjects),
            ctypes.addressof(self._subject_ends),
            capacity,
        )
        self._catalogue_at, self._found_at = byref(self._catalogue), byref(self._found)

    def scan(self, request: bytes, max_event_bytes: int, *, trusted: bool = False) -> Scanned | None:
        """What a PublishRequest or PublishStreamRequest holds, when it surely keeps every rule; None when that is not sure.

        `trusted` bytes were checked before and are only taken apart.
        """
        found = self._found
        if not library_for(request).scan(self._catalogue_at, request, len(request), max_event_bytes, trusted, self._found_at):
            return None
        count = found.count
        return Scanned(
            request[: found.end] if found.end < len(request) else request,
            count,
            ctypes.string_at(self._ids, ID_BYTES * count),
            ctypes.string_at(self._types, 2 * count),
            [request[start:end] for start, end in zip(self._subjects[:count], self._subject_ends[:count], strict=True)],
            found.sequence,
        )


def _catalogue(types: Sequence[KnownType], shapes: Sequence[Shape]) -> _Catalogue:
    """The tables in C; ctypes keeps what they point at alive with them."""
    entries = (_Entry * max(1, len(types)))()
    mask = (1 << max(4, (4 * len(types)).bit_length())) - 1
    buckets = (c_uint16 * (mask + 1))()
    for index, known in enumerate(types):
        texts = [text.encode() for text in (known.type, known.source, known.url)]
        entries[index] = _Entry(*texts, *map(len, texts), known.number, known.message)
        at = _fnv(texts[0]) & mask
        while buckets[at]:
            at = (at + 1) & mask
        buckets[at] = index + 1
    fields = (_Field * max(1, sum(len(shape.fields) for shape in shapes)))()
    messages = (_Message * max(1, len(shapes)))()
    next_field = 0
    for index, shape in enumerate(shapes):
        messages[index] = _Message(next_field, len(shape.fields))
        for row in shape.fields:
            fields[next_field] = _Field(*row)
            next_field += 1
    return _Catalogue(entries, buckets, mask, messages, fields)


def _fnv(text: bytes) -> int:
    value = 2166136261
    for byte in text:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value
