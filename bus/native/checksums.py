"""CRC-32C: of a record, and of any bytes."""

from ctypes import c_char_p, c_int64, c_size_t, c_uint32

from bus.native.library import declare, library_for, releasing

declare("crc32c", c_uint32, c_uint32, c_char_p, c_size_t)
declare("record_checksum", c_uint32, c_int64, c_int64, c_int64, c_char_p, c_size_t, c_char_p, c_size_t)
declare("crc32c_by_table", c_uint32, c_uint32, c_char_p, c_size_t)


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C of some bytes, going on from `crc`."""
    return int(library_for(data).crc32c(crc, data, len(data)))


def record_checksum(position: int, last: int, time_us: int, types: bytes, events: bytes) -> int:
    """CRC-32C of a record: of position, last position and time as little-endian 64-bit integers, then its types and its events."""
    return int(library_for(events).record_checksum(position, last, time_us, types, len(types), events, len(events)))


def crc32c_by_table(data: bytes, crc: int = 0) -> int:
    """The same without the processor's instruction."""
    return int(releasing.crc32c_by_table(crc, data, len(data)))
