"""A power cut: the tape of a process's writes (disk.c), and the folder as a cut at any point of it could have left it.

What was synced stays. Of what was written since, every piece of 512 bytes stays or goes by itself; files made, renamed and removed
since the folder's last sync are there or not.
"""

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_OPEN, _WRITE, _TRUNCATE, _SYNC, _UNLINK, _RENAME, _SYNC_FOLDER = range(1, 8)
_ENTRY = struct.Struct("<IIQQ")
_SECTOR = 512
# how much of what was not synced survives a cut: nothing, little, half, most, all
_LUCK = (0.0, 0.1, 0.5, 0.9, 1.0)


@dataclass(frozen=True)
class Entry:
    """One thing the process did; `end` is the length of the tape after it."""

    end: int
    kind: int
    file: int
    offset: int
    content: bytes


@dataclass
class _File:
    synced: bytearray = field(default_factory=bytearray)
    since: list[Entry] = field(default_factory=list)

    def image(self, chance: random.Random, luck: float) -> bytes:
        left = bytearray(self.synced)
        for entry in self.since:
            _apply(left, entry, lambda: chance.random() < luck)
        return bytes(left)


class Platter:
    """What a disk holds for sure, and what it may hold, as a tape is played."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        self._names_since: list[Entry] = []

    def play(self, entry: Entry) -> None:
        """Goes on by one entry."""
        if entry.kind == _OPEN:
            self._files[entry.file] = _File()
        if entry.kind in (_OPEN, _UNLINK, _RENAME):
            self._names_since.append(entry)
        elif entry.kind == _SYNC_FOLDER:
            for since in self._names_since:
                _rename(self._names, since)
            self._names_since.clear()
        elif entry.kind == _SYNC:
            file = self._files[entry.file]
            for since in file.since:
                _apply(file.synced, since, lambda: True)
            file.since.clear()
        else:
            self._files[entry.file].since.append(entry)

    def cut(self, chance: random.Random) -> dict[str, bytes]:
        """The files as a cut at this moment may leave them."""
        luck = chance.choice(_LUCK)
        names = dict(self._names)
        for entry in self._names_since:
            if chance.random() < luck:
                _rename(names, entry)
        return {name: self._files[file].image(chance, luck) for name, file in names.items()}


def read_tape(tape: Path) -> Iterator[Entry]:
    """The entries of a tape; one that was cut off in the middle by a kill never happened."""
    content = tape.read_bytes()
    at = 0
    while at + _ENTRY.size <= len(content):
        kind, length, file, offset = _ENTRY.unpack_from(content, at)
        start = at + _ENTRY.size
        at = start + length
        if at <= len(content):
            yield Entry(at, kind, file, offset, content[start:at])


def cuts(tape: Path, count: int, chance: random.Random) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Power cuts at random points of a tape, earliest first: the moment, and the files that are left."""
    entries = list(read_tape(tape))
    points = iter(sorted(chance.randrange(1, len(entries) + 1) for _ in range(count)))
    platter = Platter()
    point = next(points, None)
    for number, entry in enumerate(entries, 1):
        platter.play(entry)
        while point == number:
            yield entry.end, platter.cut(chance)
            point = next(points, None)


def play(tape: Path) -> Platter:
    """The disk at the end of a tape."""
    platter = Platter()
    for entry in read_tape(tape):
        platter.play(entry)
    return platter


def _apply(content: bytearray, entry: Entry, stays: Callable[[], bool]) -> None:
    """Applies a write, piece by piece, or a truncation."""
    if entry.kind == _TRUNCATE:
        if stays():
            del content[entry.offset :]
            content.extend(bytes(entry.offset - len(content)))
        return
    at, end = entry.offset, entry.offset + len(entry.content)
    while at < end:
        stop = min(end, (at // _SECTOR + 1) * _SECTOR)
        if stays():
            content.extend(bytes(max(0, stop - len(content))))
            content[at:stop] = entry.content[at - entry.offset : stop - entry.offset]
        at = stop


def _rename(names: dict[str, int], entry: Entry) -> None:
    if entry.kind == _OPEN:
        names[entry.content.decode()] = entry.file
    elif entry.kind == _UNLINK:
        names.pop(entry.content.decode(), None)
    else:
        old, new = entry.content.decode().split("\0")
        names.pop(old, None)
        names[new] = entry.file
