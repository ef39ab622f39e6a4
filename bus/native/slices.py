"""Cuts events out of records, by place and by type, and writes their positions into them."""

import ctypes
from array import array
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p

from bus.native.library import declare, holding, library_for

_MAX_VARINT = 10

declare("event_starts", c_int64, c_char_p, c_size_t, c_void_p, c_uint32)
declare("event_offset", c_int64, c_char_p, c_size_t, c_uint32)
declare("events_within", c_uint32, c_char_p, c_size_t, c_size_t, c_uint32, POINTER(c_size_t))
declare("choose", c_uint32, c_char_p, c_uint32, c_uint32, c_char_p, c_void_p)
declare("holds_any", c_int, c_char_p, c_uint32, c_char_p)
declare("count_gone", c_uint32, c_char_p, c_uint32)
declare("pack", c_size_t, c_void_p, c_int64, c_uint32, c_void_p)
declare("spans", c_int64, c_char_p, c_size_t, c_void_p, c_uint32, c_void_p)
declare("gather", None, c_char_p, c_void_p, c_uint32, c_void_p)
declare("stamp_each", c_int64, c_char_p, c_size_t, c_void_p, c_uint32, c_void_p)
declare("stamp", c_int64, c_char_p, c_size_t, c_int64, c_void_p)

# bytes without content, and where they lie: nobody else has seen them yet when they are filled
_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.restype, _new_bytes.argtypes = ctypes.py_object, (c_char_p, ctypes.c_ssize_t)
_bytes_at = ctypes.pythonapi.PyBytes_AsString
_bytes_at.restype, _bytes_at.argtypes = c_void_p, (ctypes.py_object,)
_copy = ctypes.PyDLL(None).memmove
_copy.restype, _copy.argtypes = c_void_p, (c_void_p, c_char_p, c_size_t)


class NotARecordError(ValueError):
    """Bytes that are not `repeated Event events = 1` and nothing else."""


def event_starts(events: bytes, count: int) -> list[int]:
    """The offset of each of `count` events of a record, and of the end; NotARecordError when there are others."""
    starts = (c_uint32 * (count + 1))()
    if library_for(events).event_starts(events, len(events), starts, count) != count:
        raise NotARecordError(f"these bytes are no record of {count} events")
    return list(starts)


def event_offset(events: bytes, skip: int) -> int:
    """The offset at which the event number `skip` begins; NotARecordError when there are not so many."""
    offset = int(library_for(events).event_offset(events, len(events), skip))
    if offset < 0:
        raise NotARecordError(f"these bytes hold less than {skip} events")
    return offset


def events_within(events: bytes, max_bytes: int, limit: int) -> tuple[int, int]:
    """How many whole events (at least one, at most `limit`) fit into `max_bytes`, and the offset at which they end."""
    offset = c_size_t()
    return int(library_for(events).events_within(events, len(events), max_bytes, limit, byref(offset))), offset.value


def choose(types: bytes, skip: int, wanted: bytes | None) -> "array[int]":
    """The indexes from `skip` on whose type is wanted (one byte a type number); None wants all. What is gone never is."""
    count = len(types) // 2
    indexes = array("I", bytes(4 * count))
    found = library_for(types).choose(types, count, skip, wanted, indexes.buffer_info()[0])
    return indexes[:found]


def holds_any(types: bytes, wanted: bytes | None) -> bool:
    """Whether an event of a wanted type is among these."""
    return bool(library_for(types).holds_any(types, len(types) // 2, wanted))


def count_gone(types: bytes) -> int:
    """How many of these events are gone: erased, or compacted away."""
    return int(library_for(types).count_gone(types, len(types) // 2))


def pack(numbers: "range | array[int]") -> bytes:
    """Numbers as protobuf packs them: a range of step 1, or an array of signed 64-bit integers, none of them negative."""
    out = array("B", bytes(_MAX_VARINT * len(numbers)))
    values, first = (None, numbers.start) if isinstance(numbers, range) else (numbers.buffer_info()[0], 0)
    return out[: holding.pack(values, first, len(numbers), out.buffer_info()[0])].tobytes()


def gather(events: bytes, indexes: "array[int]") -> bytes:
    """The events of a record at ascending indexes; NotARecordError when there are fewer."""
    library, count = library_for(events), len(indexes)
    found = array("I", bytes(8 * count))
    where = found.buffer_info()[0]
    size = _checked_size(library.spans(events, len(events), indexes.buffer_info()[0], count, where))
    made: bytes = _new_bytes(None, size)
    library.gather(events, where, count, _bytes_at(made))
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
        return int(library_for(events).stamp(events, len(events), positions.start, out))
    return int(library_for(events).stamp_each(events, len(events), positions.buffer_info()[0], len(positions), out))


def _checked_size(size: int) -> int:
    if size < 0:
        raise NotARecordError("these bytes are not the events that they should be")
    return size
