"""The bus's innermost loops in C: scanning a publish, the window of ids, cutting events out of records, checksums.

Plain C behind ctypes: nothing of Python's headers is needed to build it. A call that may take long lets other threads run; a short
one does not, for whoever lets go of Python's lock may wait a hundred times as long as the call took until he has it again. `make
build` builds it.
"""

import ctypes
import os
from array import array
from collections.abc import Sequence
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from dataclasses import dataclass
from pathlib import Path
from sys import byteorder

LIBRARY = Path(__file__).resolve().parents[2] / "build" / "native" / "libtooloo_bus.so"
ID_BYTES = 16
# what a publish may hold at most, by the contract; a record that neighbours share is found out as it is read
_MAX_PUBLISH = 1000
_MAX_VARINT = 10

if byteorder != "little":
    raise ImportError("the bus's records are little-endian, and so must the machine be")


# so many bytes are looked through in some microseconds
_SHORT_BYTES = 64 * 1024


def _load(kind: type[ctypes.CDLL]) -> ctypes.CDLL:
    try:
        return kind(str(LIBRARY))
    except OSError as error:
        raise ImportError(f"the bus's C library is not there ({error}); make it with: make build") from error


# the same library twice: calls of the first let other threads run, calls of the second do not
_c, _short = _load(ctypes.CDLL), _load(ctypes.PyDLL)
# bytes without content, and where they lie: nobody else has seen them yet when they are filled
_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.restype, _new_bytes.argtypes = ctypes.py_object, (c_char_p, ctypes.c_ssize_t)
_bytes_at = ctypes.pythonapi.PyBytes_AsString
_bytes_at.restype, _bytes_at.argtypes = c_void_p, (ctypes.py_object,)
_copy = ctypes.PyDLL(None).memmove
_copy.restype, _copy.argtypes = c_void_p, (c_void_p, c_char_p, c_size_t)
_BYTES = c_char_p


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


def _declare(name: str, result: object, *arguments: object) -> None:
    for library in (_c, _short):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


def _for(data: bytes) -> ctypes.CDLL:
    """The library for a call that looks through so much."""
    return _short if len(data) <= _SHORT_BYTES else _c


_declare("scan", c_int, POINTER(_Catalogue), _BYTES, c_size_t, c_uint32, c_int, POINTER(_Found))
_declare("window_new", c_void_p, c_uint64, c_uint64)
_declare("window_free", None, c_void_p)
_declare("window_count", c_uint64, c_void_p, c_int64)
_declare("window_reserve", c_int, c_void_p, c_uint64, c_int64)
_declare("window_find", c_int64, c_void_p, _BYTES, c_uint16, c_int64, c_int64)
_declare("window_add", None, c_void_p, _BYTES, _BYTES, c_void_p, c_uint32, c_int64)
_declare("window_place", c_uint32, c_void_p, _BYTES, _BYTES, c_void_p, c_uint32, c_int64, c_int64)
_declare("window_remove", None, c_void_p, _BYTES, _BYTES, c_void_p, c_uint32, c_int64)
_declare("event_starts", c_int64, _BYTES, c_size_t, c_void_p, c_uint32)
_declare("event_offset", c_int64, _BYTES, c_size_t, c_uint32)
_declare("events_within", c_uint32, _BYTES, c_size_t, c_size_t, c_uint32, POINTER(c_size_t))
_declare("choose", c_uint32, _BYTES, c_uint32, c_uint32, _BYTES, c_void_p)
_declare("holds_any", c_int, _BYTES, c_uint32, _BYTES)
_declare("count_gone", c_uint32, _BYTES, c_uint32)
_declare("pack", c_size_t, c_void_p, c_int64, c_uint32, c_void_p)
_declare("spans", c_int64, _BYTES, c_size_t, c_void_p, c_uint32, c_void_p)
_declare("gather", None, _BYTES, c_void_p, c_uint32, c_void_p)
_declare("stamp_each", c_int64, _BYTES, c_size_t, c_void_p, c_uint32, c_void_p)
_declare("stamp", c_int64, _BYTES, c_size_t, c_int64, c_void_p)
_declare("crc32c", c_uint32, c_uint32, _BYTES, c_size_t)
_declare("record_checksum", c_uint32, c_int64, c_int64, c_int64, _BYTES, c_size_t, _BYTES, c_size_t)
_declare("crc32c_by_table", c_uint32, c_uint32, _BYTES, c_size_t)


class NotARecordError(ValueError):
    """Bytes that are not `repeated Event events = 1` and nothing else."""


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
        if not _for(request).scan(self._catalogue_at, request, len(request), max_event_bytes, trusted, self._found_at):
            return None
        count = found.count
        return Scanned(
            request[: found.end] if found.end < len(request) else request,
            count,
            ctypes.string_at(self._ids, ID_BYTES * count),
            ctypes.string_at(self._types, 2 * count),
            # without a line of Python for each: this was half of the price of a request of 64
            list(map(request.__getitem__, map(slice, self._subjects[:count], self._subject_ends[:count]))),
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


class IdWindow:
    """Fingerprints of remembered ids with their positions. A hit is a candidate: compare the stored id before believing it.

    `sources` gives the number of each type's source: the same id from another source is another event.
    """

    def __init__(self, sources: Sequence[int]) -> None:
        self._window = _c.window_new(int.from_bytes(os.urandom(8)), int.from_bytes(os.urandom(8)))
        if not self._window:
            raise MemoryError
        self._sources = array("H", sources)
        self._sources_at = self._sources.buffer_info()[0]

    def close(self) -> None:
        """Gives the memory back."""
        window, self._window = self._window, None
        if window:
            _c.window_free(window)

    def count(self, floor: int) -> int:
        """Remembered positions beyond `floor`."""
        return int(_c.window_count(self._window, floor))

    def make_room(self, count: int) -> None:
        """Makes room for so many at once: growing by and by would put each in its place several times."""
        if not _c.window_reserve(self._window, count, 0):
            raise MemoryError

    def find(self, key: bytes, type_id: int, floor: int, limit: int) -> int:
        """The newest candidate beyond `floor` and below `limit`; 0 when there is none."""
        return int(_short.window_find(self._window, key, self._sources[type_id], floor, limit))

    def add(self, ids: bytes, types: bytes, first: int, floor: int) -> None:
        """Remembers events that stand from `first` on."""
        count = self._reserve(types, floor)
        _short.window_add(self._window, ids, types, self._sources_at, count, first)

    def place(self, ids: bytes, types: bytes, first: int, floor: int) -> bool:
        """Remembers events that stand from `first` on; False, and nothing remembered, when one of them may be there already."""
        count = self._reserve(types, floor)
        placed = _short.window_place(self._window, ids, types, self._sources_at, count, first, floor)
        if placed == count:
            return True
        self.remove(ids, types[: 2 * placed], first)
        return False

    def remove(self, ids: bytes, types: bytes, first: int) -> None:
        """Forgets events that were remembered from `first` on."""
        _short.window_remove(self._window, ids, types, self._sources_at, len(types) // 2, first)

    def _reserve(self, types: bytes, floor: int) -> int:
        count = len(types) // 2
        if not _c.window_reserve(self._window, count, floor):
            raise MemoryError
        return count


def event_starts(events: bytes, count: int) -> list[int]:
    """The offset of each of `count` events of a record, and of the end; NotARecordError when there are others."""
    starts = (c_uint32 * (count + 1))()
    if _for(events).event_starts(events, len(events), starts, count) != count:
        raise NotARecordError(f"these bytes are no record of {count} events")
    return list(starts)


def event_offset(events: bytes, skip: int) -> int:
    """The offset at which the event number `skip` begins; NotARecordError when there are not so many."""
    offset = int(_for(events).event_offset(events, len(events), skip))
    if offset < 0:
        raise NotARecordError(f"these bytes hold less than {skip} events")
    return offset


def events_within(events: bytes, max_bytes: int, limit: int) -> tuple[int, int]:
    """How many whole events (at least one, at most `limit`) fit into `max_bytes`, and the offset at which they end."""
    offset = c_size_t()
    return int(_for(events).events_within(events, len(events), max_bytes, limit, byref(offset))), offset.value


def choose(types: bytes, skip: int, wanted: bytes | None) -> "array[int]":
    """The indexes from `skip` on whose type is wanted (one byte a type number); None wants all. What is gone never is."""
    count = len(types) // 2
    indexes = array("I", bytes(4 * count))
    found = _for(types).choose(types, count, skip, wanted, indexes.buffer_info()[0])
    return indexes[:found]


def holds_any(types: bytes, wanted: bytes | None) -> bool:
    """Whether an event of a wanted type is among these."""
    return bool(_for(types).holds_any(types, len(types) // 2, wanted))


def count_gone(types: bytes) -> int:
    """How many of these events are gone: erased, or compacted away."""
    return int(_for(types).count_gone(types, len(types) // 2))


def pack(numbers: "range | array[int]") -> bytes:
    """Numbers as protobuf packs them: a range of step 1, or an array of signed 64-bit integers, none of them negative."""
    out = array("B", bytes(_MAX_VARINT * len(numbers)))
    values, first = (None, numbers.start) if isinstance(numbers, range) else (numbers.buffer_info()[0], 0)
    return out[: _short.pack(values, first, len(numbers), out.buffer_info()[0])].tobytes()


def gather(events: bytes, indexes: "array[int]") -> bytes:
    """The events of a record at ascending indexes; NotARecordError when there are fewer."""
    count = len(indexes)
    found = array("I", bytes(8 * count))
    where = found.buffer_info()[0]
    made: bytes = _new_bytes(None, _checked_size(_for(events).spans(events, len(events), indexes.buffer_info()[0], count, where)))
    _for(events).gather(events, where, count, _bytes_at(made))
    return made


def stamp(events: bytes, positions: "range | array[int]") -> bytes:
    """Events, each with its position written into it; positions are a range of step 1 or an array of signed 64-bit integers."""
    return stamped_behind(b"", ((events, positions),))


def stamped_size(events: bytes, positions: "range | array[int]") -> int:
    """How many bytes stamp() would give."""
    return _checked_size(_stamp(events, positions, None))


def stamped_behind(header: bytes, parts: "Sequence[tuple[bytes, range | array[int]]]") -> bytes:
    """What stamp() gives of each part, behind other bytes and without being copied once more."""
    # counted here and taken from nobody: it is what the writing below may not pass
    made: bytes = _new_bytes(None, len(header) + sum(stamped_size(events, positions) for events, positions in parts))
    at = _bytes_at(made)
    _copy(at, header, len(header))
    at += len(header)
    for events, positions in parts:
        at += _stamp(events, positions, at)
    return made


def _stamp(events: bytes, positions: "range | array[int]", out: int | None) -> int:
    """Writes to an address and gives the number of bytes; without one it only says how many there will be."""
    if isinstance(positions, range):
        return int(_for(events).stamp(events, len(events), positions.start, out))
    return int(_for(events).stamp_each(events, len(events), positions.buffer_info()[0], len(positions), out))


def _checked_size(size: int) -> int:
    if size < 0:
        raise NotARecordError("these bytes are not the events that they should be")
    return size


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C of some bytes, going on from `crc`."""
    return int(_for(data).crc32c(crc, data, len(data)))


def record_checksum(position: int, last: int, time_us: int, types: bytes, events: bytes) -> int:
    """CRC-32C of a record: of position, last position and time as little-endian 64-bit integers, then its types and its events."""
    return int(_for(events).record_checksum(position, last, time_us, types, len(types), events, len(events)))


def crc32c_by_table(data: bytes, crc: int = 0) -> int:
    """The same without the processor's instruction."""
    return int(_c.crc32c_by_table(crc, data, len(data)))
