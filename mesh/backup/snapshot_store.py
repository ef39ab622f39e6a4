"""One moment of many SQLite files at once: their write locks held together for milliseconds, a read snapshot opened on each.

While all locks are held nobody is in the middle of a write, so what the snapshots show is what a power cut at that moment would
have left: an event that a service takes for published is in the bus's file, what the bus takes for acknowledged is in the
listener's. Nobody waits for the copying: that reads from the snapshots, which the write-ahead log keeps as long as they are open.
"""

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# a file whose writer is busy is asked again at once for so long; then all locks are given back, for somebody may wait for one
_LOCK_S, _LOOK_S, _PAUSE_S = 0.5, 0.0002, 0.05
_PATIENCE_S = 60.0
# copied at a time: large enough to be fast, small enough to show that it goes on
_PAGES = 1024
HEADER = b"SQLite format 3\x00"
ENDING = ".db"


class NoMomentError(RuntimeError):
    """No moment was found in which nobody writes."""


@dataclass(frozen=True)
class Moment:
    """Read snapshots of all files, in the order in which they were asked for, and for how many seconds nobody could write."""

    snapshots: Sequence[sqlite3.Connection]
    pause: float


def is_database(path: Path) -> bool:
    """True for a file that SQLite wrote."""
    return _beginning(path) == HEADER


def is_ruined(path: Path) -> bool:
    """True for a file that is called a database and does not begin like one; an empty one is new, and none yet."""
    return path.suffix == ENDING and _beginning(path) not in (b"", HEADER)


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(HEADER))


@contextmanager
def one_moment(paths: Sequence[Path], patience: float = _PATIENCE_S) -> Iterator[Moment]:
    """Snapshots of one and the same moment; they stand as long as the block lasts. NoMomentError when there was none in this time.

    The file with the busiest writer should come first: while it is waited for nobody else has to.
    """
    with ExitStack() as stack:
        lockers, readers = ([stack.enter_context(closing(_connect(path))) for path in paths] for _ in range(2))
        pause = _pin(lockers, readers, patience)
        yield Moment(readers, pause)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0)
    # the first statement reads the schema, and the last one out must not tidy up behind a service that has just been killed
    connection.execute("PRAGMA schema_version").fetchone()
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def _pin(lockers: Sequence[sqlite3.Connection], readers: Sequence[sqlite3.Connection], patience: float) -> float:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if (began := _lock_all(lockers)) is not None:
            try:
                for reader in readers:
                    reader.execute("BEGIN")
                    reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            finally:
                _unlock(lockers)
            return time.monotonic() - began
        time.sleep(_PAUSE_S * random.random())  # noqa: S311 - so that two backups do not meet for ever
    raise NoMomentError("some service was writing all the time; try again when less is going on")


def _lock_all(lockers: Sequence[sqlite3.Connection]) -> float | None:
    """Holds every write lock; gives when the first one was got, or None, and holds none, when one could not be had."""
    began = 0.0
    for locker in lockers:
        until = time.monotonic() + _LOCK_S
        while not _locked(locker):
            if time.monotonic() > until:
                _unlock(lockers)
                return None
            time.sleep(_LOOK_S)
        began = began or time.monotonic()
    return began


def _locked(locker: sqlite3.Connection) -> bool:
    try:
        locker.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        return False
    return True


def _unlock(lockers: Sequence[sqlite3.Connection]) -> None:
    for locker in lockers:
        with suppress(sqlite3.Error):
            locker.execute("ROLLBACK")


def size(snapshot: sqlite3.Connection) -> int:
    """Bytes of a database in a snapshot."""
    (pages,), (page,) = (snapshot.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    return int(pages * page)


def copy(snapshot: sqlite3.Connection, target: Path, advanced: Callable[[int], None]) -> None:
    """Copies a snapshot to a file page by page and lets go of it; `advanced` is told how many bytes are there.

    SQLite's backup begins no transaction where one is open, so it reads the snapshot to its end, whatever is written meanwhile.
    OSError when there is no room.
    """
    (page,) = snapshot.execute("PRAGMA page_size").fetchone()
    try:
        with closing(sqlite3.connect(target)) as connection:
            snapshot.backup(connection, pages=_PAGES, progress=lambda _, left, total: advanced((total - left) * page))
    except sqlite3.OperationalError as error:
        raise OSError(f"{error}: {target.name}") from error
    snapshot.execute("ROLLBACK")


def faults(path: Path, *, live: bool = False) -> list[str]:
    """What SQLite finds wrong with a database file: one that nobody else has open, or one in use (`live`)."""
    mode = "mode=ro" if live else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)) as connection:
            return [str(row[0]) for row in connection.execute("PRAGMA quick_check") if row[0] != "ok"]
    except sqlite3.DatabaseError as error:
        return [str(error)]


def migrations(path: Path) -> list[str]:
    """The migrations that a file has seen, as "owner/number"; "user_version/number" where SQLite itself counts them."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'").fetchone():
            rows = connection.execute("SELECT owner, number FROM schema_migrations ORDER BY owner, number")
            return [f"{owner}/{number}" for owner, number in rows]
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return [f"user_version/{number}" for number in range(1, version + 1)]
