"""What changed in a stretch of a tree since it was indexed: by size and times first, so that most files need not be opened."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.context.walking import Found

# Coarsest steps in which file systems count times (FAT's are 2 s): a file as young as its reading may have changed since, unseen.
_CLOCK_STEP_US = 2_000_000


@dataclass(frozen=True)
class Known:
    """A file as the index has it; `read_us` is when it was read, in microseconds since the epoch."""

    file_id: int
    path: str
    size: int
    content_hash: str
    mtime_ns: int
    ctime_ns: int
    read_us: int


@dataclass(frozen=True)
class Changes:
    """What to do with a stretch: read these (with the known file, if any), leave these alone, drop these."""

    to_read: tuple[tuple[Found, Known | None], ...]
    unchanged: int
    gone: tuple[Known, ...]


def compare(found: Sequence[Found], known: Iterable[Known]) -> Changes:
    """Compares the files of a stretch of paths with what the index has of the same stretch."""
    by_path = {each.path: each for each in known}
    to_read = []
    for file in found:
        before = by_path.pop(file.path, None)
        if before is None or not _proved_same(file, before):
            to_read.append((file, before))
    return Changes(tuple(to_read), len(found) - len(to_read), tuple(by_path.values()))


def _proved_same(file: Found, before: Known) -> bool:
    """True when size and times are the indexed ones and clearly older than the reading (git's "racy" entries are read again)."""
    same = (file.size, file.mtime_ns, file.ctime_ns) == (before.size, before.mtime_ns, before.ctime_ns)
    return same and max(file.mtime_ns, file.ctime_ns) // 1000 + _CLOCK_STEP_US < before.read_us
