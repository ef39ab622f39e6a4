"""Server-sent events and lines of JSON, read from bytes that are cut anywhere (WHATWG HTML, "9.2 Server-sent events")."""

import re
from collections.abc import Iterator

from msgspec import Struct

from services.provider.dialects.base import malformed

_BOM = b"\xef\xbb\xbf"
_END = re.compile(rb"\r\n|\n|\r")
LONGEST_LINE = 16 * 1024 * 1024


class Lines:
    """Cuts bytes into lines that end with CR, LF or CRLF."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._pieces: list[bytes] = []
        self._length = 0
        # a CR ended the last line: an LF that follows belongs to it
        self._after_cr = False
        self._at_start = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that these bytes complete, to be read to the end; CallFailedError (MALFORMED) when one gets too long."""
        if self._at_start:
            data = self._without_bom(data)
            if self._at_start:
                return
        if self._after_cr and data:
            data = data[1:] if data[:1] == b"\n" else data
            self._after_cr = False
        *complete, rest = _END.split(data)
        if data.endswith(b"\r"):
            self._after_cr = True
        for line in complete:
            if self._pieces:
                begun, self._pieces, self._length = self._pieces, [], 0
                yield b"".join((*begun, line))
            else:
                yield line
        self._keep(rest)

    def rest(self) -> bytes:
        """What stands after the last line's end."""
        return b"".join(self._pieces)

    def _without_bom(self, data: bytes) -> bytes:
        data = self.rest() + data
        self._pieces, self._length = [], 0
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._keep(data)
            return b""
        self._at_start = False
        return data.removeprefix(_BOM)

    def _keep(self, rest: bytes) -> None:
        if rest:
            self._pieces.append(rest)
            self._length += len(rest)
        if self._length > self._longest:
            raise malformed(f"a line of more than {self._longest} bytes")


class Event(Struct, frozen=True):
    """A server-sent event: its name ("message" when it has none) and its data."""

    name: str
    data: str


class Events:
    """Reads server-sent events. An event that no empty line ended is none, as the specification says."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._lines = Lines(longest)
        self._longest = longest
        self._name = ""
        self._data: list[str] = []
        self._length = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that these bytes complete, to be read to the end."""
        for line in self._lines.feed(data):
            if line:
                self._field(line.decode(errors="replace"))
                continue
            name, lines = self._name, self._data
            self._name, self._data, self._length = "", [], 0
            if lines:
                yield Event(name or "message", "\n".join(lines))

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._length += len(value)
            if self._length > self._longest:
                raise malformed(f"an event of more than {self._longest} bytes")
        elif name == "event":
            self._name = value
        # comments have no name; `id` and `retry` mean something to who reconnects, which nobody does here


def write_event(data: str, name: str = "") -> bytes:
    """An event as bytes; `data` must be one line."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data}\n\n".encode()
