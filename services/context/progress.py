"""How far a run is: its phases, and how much of the one it is in is done."""

from dataclasses import dataclass, replace
from enum import StrEnum


class Phase(StrEnum):
    """What a run does, in this order, or that it waits for the one before it; the words are those that callers see."""

    WAITING = "waiting"
    COUNTING = "counting"
    READING = "reading"
    RESOLVING = "resolving"
    RANKING = "ranking"
    PUBLISHING = "publishing"


@dataclass(frozen=True)
class Progress:
    """A moment of a run: files done in its phase, of so many (0: not known), and the bytes that were read since its beginning."""

    phase: Phase = Phase.COUNTING
    done: int = 0
    total: int = 0
    bytes: int = 0


class Meter:
    """Told by a run what it has done, asked by whoever watches it."""

    def __init__(self, phase: Phase = Phase.COUNTING) -> None:
        self.now = Progress(phase)

    def enter(self, phase: Phase, total: int = 0) -> None:
        """Begins a phase."""
        self.now = Progress(phase, total=total, bytes=self.now.bytes)

    def add(self, files: int, size: int = 0) -> None:
        """So many more files are done, which hold so many bytes."""
        self.reach(self.now.done + files)
        self.now = replace(self.now, bytes=self.now.bytes + size)

    def reach(self, done: int) -> None:
        """So many files are done; a total that was only a guess grows with them."""
        total = max(self.now.total, done) if self.now.total else 0
        self.now = replace(self.now, done=done, total=total)
