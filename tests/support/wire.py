"""Protobuf's wire format by hand, for bytes that no serializer would write (https://protobuf.dev/programming-guides/encoding/)."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(value: int, extra: int = 0) -> bytes:
    """A number as a varint, with so many bytes more than it needs."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(extra):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def tag(number: int, wire: int, extra: int = 0) -> bytes:
    """The tag of a field."""
    return varint(number << 3 | wire, extra)


def field(number: int, content: bytes, *, extra: int = 0) -> bytes:
    """A field of bytes: text, or a message."""
    return tag(number, BYTES) + varint(len(content), extra) + content


def number_field(number: int, value: int) -> bytes:
    """A field of a varint."""
    return tag(number, VARINT) + varint(value)


def fields_of(message: bytes) -> list[tuple[int, int, bytes]]:
    """A sound message's fields as (number, wire type, all bytes of the field)."""
    found = []
    at = 0
    while at < len(message):
        start = at
        key, at = read_varint(message, at)
        wire = key & 7
        if wire == VARINT:
            _, at = read_varint(message, at)
        elif wire == BYTES:
            size, at = read_varint(message, at)
            at += size
        else:
            at += 8 if wire == FIXED64 else 4
        found.append((key >> 3, wire, message[start:at]))
    return found


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at an offset, and the offset behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
