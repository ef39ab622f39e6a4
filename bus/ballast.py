"""Space kept back for the time when the disk is full: what has to go on then (acknowledgements, retention, checkpoints) uses it."""

import errno
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bus import file_store

T = TypeVar("T")

# no more than this share of the file system is held back, and no more than the log itself takes, but for the least
_SHARE = 16
_LEAST_BYTES = 256 * 1024
_PORTIONS = 16
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Ballast:
    """A file beside the log that holds blocks of the disk. It is given back in portions, each at the moment when a write needs it.

    It grows with the log, and with the write-ahead log: all of that a checkpoint may have to write into the database at once, and
    until it has, nothing begins anew there. Used by the threads of writer and checkpointer.
    """

    def __init__(self, path: Path, most: int, log: Path) -> None:
        found = os.statvfs(path.parent)
        self._path = path
        self._most = min(most, found.f_blocks * found.f_frsize // _SHARE)
        self._wal = log.with_name(log.name + "-wal")
        self._full = self._fitting(log.stat().st_size)
        self._held = 0
        self._one_at_a_time = threading.RLock()

    def fit(self, log_bytes: int) -> None:
        """Grows when the log has grown to twice what is held; not while some of it is given away."""
        fitting = self._fitting(log_bytes)
        with self._one_at_a_time:
            if fitting >= 2 * self._full and self._held == self._full:
                before, self._full = self._full, fitting
                if not self.take():
                    self._full = before

    def cover(self) -> bool:
        """Grows so that the whole write-ahead log finds room in the database; False when the disk has none for that.

        What is missing then is taken when there is room again.
        """
        pending = self._wal.stat().st_size
        with self._one_at_a_time:
            if min(self._most, pending + _LEAST_BYTES) <= self._full:
                return True
            self._full = min(self._most, 2 * pending + _LEAST_BYTES)
            return self.take()

    def lend(self, move: Callable[[], T]) -> T:
        """Moves pages; while the disk is full a portion is given and it is tried again. sqlite3.Error when that does not help."""
        while True:
            try:
                return move()
            except sqlite3.Error as error:
                if not (file_store.is_disk_full(error) and self.give()):
                    raise

    def give(self) -> bool:
        """Gives a portion back to the disk; False when nothing is left."""
        with self._one_at_a_time:
            if not self._held:
                return False
            self._held = max(0, self._held - max(1, self._full // _PORTIONS))
            descriptor = os.open(self._path, os.O_WRONLY)
            try:
                os.ftruncate(descriptor, self._held)
            finally:
                os.close(descriptor)
            return True

    def take_again(self) -> bool:
        """Takes back what was given; False when the disk has not half as much again beside it: writes would soon fail anew."""
        found = os.statvfs(self._path.parent)
        missing = self._full - self._held
        return found.f_bavail * found.f_frsize >= missing + self._full // 2 and self.take()

    def take(self) -> bool:
        """Takes the whole space; False, and as much as before is held, when the disk does not have it."""
        if not self._full:
            return True
        with self._one_at_a_time:
            descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._full)
                self._held = self._full
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                os.ftruncate(descriptor, self._held)
                return False
            finally:
                os.close(descriptor)
        return True

    def _fitting(self, log_bytes: int) -> int:
        return min(self._most, max(_LEAST_BYTES, log_bytes))
