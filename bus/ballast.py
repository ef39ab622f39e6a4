"""Space kept back for the time when the disk is full: what has to go on then (acknowledgements, retention, checkpoints) uses it."""

import errno
import os
from contextlib import suppress
from pathlib import Path


class Ballast:
    """A file beside the log that holds its blocks; without bytes there is none."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def drop(self) -> None:
        """Gives the space back to the disk."""
        self._path.unlink(missing_ok=True)

    def take_again(self) -> bool:
        """Takes the space after it was dropped; False when the disk has not as much again beside it, or writes would soon fail anew."""
        room = os.statvfs(self._path.parent)
        return room.f_bavail * room.f_frsize >= 2 * self._size and self.take()

    def take(self) -> bool:
        """Takes the space; False when the disk does not have it."""
        if not self._size:
            return True
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            with suppress(OSError):
                self.drop()
            return False
        finally:
            os.close(descriptor)
        return True
