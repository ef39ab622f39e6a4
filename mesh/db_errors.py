"""What SQLite may say when nothing is broken, and the refusals that callers get for it."""

import sqlite3
from datetime import timedelta
from pathlib import Path

from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors
from mesh.settings import MeshSettings

_SOON = timedelta(milliseconds=200)
# room has to be made first
_LATER = timedelta(seconds=1)


class UnusableError(RuntimeError):
    """A database file that cannot be opened, or is none any more; the message names it and says what to do."""


class StoreRefusal(errors.Refusal):
    """The store can take nothing now, whatever it is; once that has passed, the same write may succeed."""


def passes(error: BaseException) -> bool:
    """Whether an error is of the disk's room or of another process's lock: writing may go on once that has passed."""
    return _disk_full(error) or is_busy(error)


def refusal_of(error: sqlite3.Error, file: str) -> Exception:
    """The refusal for an error that passes; any other error as it is."""
    if _disk_full(error):
        description = f"the disk that holds {file} is full; make room"
        return _of_store(errors.exhausted("disk", description, reason=ErrorReason.ERROR_REASON_DISK_FULL, retry_after=_LATER))
    if is_busy(error):
        return _of_store(errors.unavailable("database", detail="another process holds its write lock"))
    return error


def unusable(error: sqlite3.Error, path: Path) -> Exception:
    """For an error that a file was opened with: UnusableError where the file is to blame, any other error as it is."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        todo = "tooloo doctor --deep looks at all files; restore the newest backup (tooloo restore --force)"
        return UnusableError(f"{path.absolute()} is damaged ({error}): {todo}")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return UnusableError(f"{path.absolute()} cannot be opened ({error}): give it to the user that runs the mesh")
    return error


def queue_full(limit: int) -> errors.Refusal:
    """The refusal while too many writes wait."""
    setting = MeshSettings.env_name("write_queue")
    return _of_store(errors.exhausted(setting, f"{limit} writes wait already; try again soon", retry_after=_SOON))


def _of_store(refusal: errors.Refusal) -> StoreRefusal:
    return StoreRefusal(refusal.code, refusal.message, refusal.details)


def _disk_full(error: BaseException) -> bool:
    """Whether there is no room for its files, or for the index of the write-ahead log, which lies beside them."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE


def is_busy(error: BaseException) -> bool:
    """Whether another process holds a lock that is needed."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
