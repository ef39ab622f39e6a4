"""The log files of a mesh, rotated ones too: which there are, and their lines from the newest back, read in blocks.

A place in a file is told by the file's own mark (of its inode and its first line) and an offset, so it stands when the file is
renamed by a rotation, and is gone when the file is.
"""

import hashlib
import heapq
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway import loglines
from gateway.loglines import Filter, Record

_BLOCK = 64 * 1024
_MARKED = 512
_ROTATED = re.compile(r"\.\d+$")


@dataclass(frozen=True)
class LogFile:
    """A log file as it was found: whose it is, its mark ("" while it has no whole line), its size and when it was written last."""

    path: Path
    process: str
    mark: str
    size: int
    changed: float


def find(folder: Path) -> list[LogFile]:
    """The log files in a folder."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            found.append(look(path))
        except OSError:
            # it was rotated away meanwhile
            continue
    return found


def look(path: Path) -> LogFile:
    """One log file."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        first, line_break, _ = file.read(_MARKED).partition(b"\n")
    known = line_break or len(first) == _MARKED
    mark = hashlib.sha256(b"%d %b" % (status.st_ino, first)).hexdigest()[:12] if known else ""
    process = _ROTATED.sub("", path.name.removesuffix(".jsonl"))
    return LogFile(path, process, mark, status.st_size, status.st_mtime)


class MovedError(Exception):
    """A file that was rotated between a look at the folder and the reading: look again."""


class Budget:
    """How many bytes may still be read, how long a line may be, and how many bytes of lines may be given."""

    def __init__(self, size: int, longest: int = 64 * 1024, room: int = 1024 * 1024) -> None:
        self.left = size
        self.longest = longest
        self.room = room

    @property
    def spent(self) -> bool:
        """True when nothing is left."""
        return self.left <= 0


def lines_back(file: LogFile, end: int, budget: Budget) -> Iterator[tuple[int, bytes]]:
    """The whole lines before an offset, the last one first, each with the offset where it begins, until the budget is spent.

    At least one is given, so that whoever asks again gets on. What is too long is cut; what stands after the last line
    break is not yet a line.
    """
    if look(file.path).mark != file.mark:
        raise MovedError(file.path)
    with file.path.open("rb") as opened:
        position, tail = end, b""
        broken = given = False
        while position > 0 and not (budget.spent and given):
            begin = max(0, position - _BLOCK)
            opened.seek(begin)
            block = opened.read(position - begin)
            budget.left -= len(block)
            position, stop = begin, len(block)
            while (at := block.rfind(b"\n", 0, stop)) >= 0:
                line = block[at + 1 : stop] + tail
                if broken and line:
                    given = True
                    yield begin + at + 1, line[: budget.longest]
                broken, tail, stop = True, b"", at
            tail = (block[:stop] + tail)[: budget.longest]
        if position == 0 and broken and tail:
            yield 0, tail


class Back:
    """The wanted records of one file from an offset back; what lies before `offset` has not been given."""

    def __init__(self, file: LogFile, end: int, wanted: Filter, budget: Budget) -> None:
        self.file = file
        self.offset = end
        self.head: Record | None = None
        self._begin = end
        self._wanted = wanted
        self._budget = budget
        self._records = self._scan(lines_back(file, end, budget))

    def take(self) -> Record:
        """The record at the head."""
        record = self.head
        if record is None:
            raise RuntimeError("there is no record to take; advance() tells whether there is one")
        self.head, self.offset = None, self._begin
        return record

    def advance(self) -> bool:
        """Looks for the next record; False when the file, or the budget, has no more."""
        for begin, end, record in self._records:
            self._begin, self.offset = begin, end
            if self._wanted.record(record):
                self.head = record
                return True
            self.offset = begin
        if not self._budget.spent:
            self.offset = 0
        return False

    def _scan(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, int, Record]]:
        """Where each record begins and ends, and the record; lines without a time are one, at the time of the line before."""
        process, end = self.file.process, self.offset
        text = _Text(process, self._budget.longest)
        newer = datetime.fromtimestamp(self.file.changed, UTC)
        for begin, line in lines:
            asked = self._wanted.line(process, line)
            # a JSON line that is not asked for need not be read, but for the time of what stands after it
            record = loglines.parse(process, line) if asked or text or not line.startswith(b"{") else None
            if record:
                newer = record.time
                yield from self._grouped(text, begin=end, time=newer)
                if asked:
                    yield begin, end, record
            elif not line.startswith(b"{") or asked:
                text.add(line, end)
            if not text:
                self.offset = min(self.offset, begin)
            end = begin
        yield from self._grouped(text, begin=end, time=newer)

    def _grouped(self, text: "_Text", begin: int, time: datetime) -> Iterator[tuple[int, int, Record]]:
        if text:
            whole = text.take()
            if self._wanted.line(self.file.process, whole):
                yield begin, text.end, loglines.plain(self.file.process, whole, time)


class _Text:
    """Lines without a time, gathered from the last one back."""

    def __init__(self, process: str, longest: int) -> None:
        self.end = 0
        self._longest = longest
        self._process = process
        self._lines: list[bytes] = []
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, line: bytes, end: int) -> None:
        """One more before; what grows too long is cut at its beginning."""
        if not self._lines:
            self.end, self._size = end, 0
        if not self._lines or self._size + len(line) <= self._longest:
            self._lines.append(line)
            self._size += len(line) + 1

    def take(self) -> bytes:
        """All of them, in the order in which they were written."""
        whole = b"\n".join(reversed(self._lines))
        self._lines = []
        return whole


def read_back(
    files: Iterable[LogFile], ends: Mapping[str, int], wanted: Filter, size: int, budget: Budget
) -> tuple[list[Record], dict[str, int]]:
    """At most so many records before these places, newest first, and the places where the next older ones end."""
    backs = [
        Back(file, min(ends[file.mark], file.size), wanted, budget)
        for file in files
        if ends.get(file.mark, 0) > 0 and wanted.process in ("", file.process)
    ]
    heap: list[tuple[float, int]] = []
    records: list[Record] = []
    # a file whose next record was not reached may hold a newer one than all others: then the page ends there
    whole = all([_push(heap, backs, index) for index in range(len(backs))])  # noqa: C419 - each has to be looked at
    while whole and heap and len(records) < size and budget.room > 0:
        back = backs[heapq.heappop(heap)[1]]
        end = back.offset
        records.append(back.take())
        budget.room -= end - back.offset
        whole = len(records) == size or budget.room <= 0 or _push(heap, backs, backs.index(back))
    return records, {back.file.mark: back.offset for back in backs if back.offset > 0}


def _push(heap: list[tuple[float, int]], backs: Sequence[Back], index: int) -> bool:
    """Puts the next record of a file among those to choose from; False when the budget ended before it was found."""
    back = backs[index]
    if back.advance() and back.head:
        heapq.heappush(heap, (-back.head.time.timestamp(), index))
        return True
    return back.offset == 0
