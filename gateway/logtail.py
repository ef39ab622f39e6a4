"""The one reader of growing log files, shared by all who follow them: it reads what is new once, and sleeps without followers."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from gateway import logfiles, loglines
from gateway.logfiles import LogFile
from gateway.loglines import Record
from gateway.settings import SystemSettings

# most that is read of one file at a look; the next look goes on
_PIECE = 1024 * 1024
Line = tuple[Record, bytes]


class Follower:
    """What one follower has not read yet; `places` is where its live lines begin, `left_out` how many it was too slow for."""

    def __init__(self, places: dict[str, int], longest: int) -> None:
        self.places = places
        self.left_out = 0
        self._waiting: deque[Line] = deque()
        self._longest = longest
        self._changed = asyncio.Event()

    def put(self, lines: Sequence[Line]) -> None:
        """More lines; the oldest are left out when there are too many."""
        self._waiting.extend(lines)
        while len(self._waiting) > self._longest:
            self._waiting.popleft()
            self.left_out += 1
        self._changed.set()

    async def take(self, seconds: float) -> list[Line]:
        """All that waits, or nothing when nothing comes in this time."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return []
        self._changed.clear()
        lines = list(self._waiting)
        self._waiting.clear()
        return lines


class LogTail:
    """Reads what is added to the log files of a folder while somebody follows."""

    def __init__(self, folder: Path, settings: SystemSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._places: dict[str, int] = {}
        self._followers: list[Follower] = []
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Looks again and again while there are followers, for ever."""
        while True:
            await self._wake.wait()
            while self._followers:
                await asyncio.sleep(self._settings.log_poll.total_seconds())
                # reading a file may wait for the disk
                lines, places = await asyncio.to_thread(self._read_new, self._places)
                # together, so that who comes between two looks misses nothing and gets nothing twice
                self._places = places
                for follower in self._followers if lines else ():
                    follower.put(lines)
            self._wake.clear()

    @contextmanager
    def following(self) -> Iterator[Follower]:
        """A follower of all lines from now on."""
        if not self._wake.is_set():
            self._places = {file.mark: file.size for file in logfiles.find(self._folder)}
        follower = Follower(dict(self._places), self._settings.log_queue)
        self._followers.append(follower)
        self._wake.set()
        try:
            yield follower
        finally:
            self._followers.remove(follower)

    def _read_new(self, places: Mapping[str, int]) -> tuple[list[Line], dict[str, int]]:
        """The lines that were added to all files, by time, and how far each file has been read now."""
        lines: list[Line] = []
        reached: dict[str, int] = {}
        for file in logfiles.find(self._folder):
            place = places.get(file.mark, 0)
            # a file that shrank was emptied in place
            place = place if place <= file.size else 0
            if file.mark and file.size > place:
                try:
                    found, place = self._read(file, place)
                except OSError:
                    # it was rotated away since it was found: under its new name it is read from here
                    found = []
                lines += found
            reached[file.mark] = place
        return sorted(lines, key=lambda line: line[0].time), reached

    def _read(self, file: LogFile, place: int) -> tuple[list[Line], int]:
        """The whole lines of a file from a place on, and where the next one begins."""
        with file.path.open("rb") as opened:
            opened.seek(place)
            piece = opened.read(_PIECE)
        whole = piece.rfind(b"\n") + 1
        if not whole:
            # half a line waits for its end; one that never ends is passed over
            return [], place + (_PIECE if len(piece) == _PIECE else 0)
        lines = [line[: self._settings.log_line_bytes] for line in piece[:whole].splitlines() if line]
        return list(records(file, lines)), place + whole


def records(file: LogFile, lines: Sequence[bytes]) -> Iterator[Line]:
    """The records of lines as they were written; those without a time follow the record before."""
    time = datetime.fromtimestamp(file.changed, UTC)
    text: list[bytes] = []
    for line in lines:
        record = loglines.parse(file.process, line)
        if record is None:
            text.append(line)
            continue
        yield from _text(file, text, time)
        text, time = [], record.time
        yield record, line
    yield from _text(file, text, time)


def _text(file: LogFile, lines: Sequence[bytes], time: datetime) -> Iterator[Line]:
    if lines:
        whole = b"\n".join(lines)
        yield loglines.plain(file.process, whole, time), whole
