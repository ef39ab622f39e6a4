"""One process at a time has a log open: two writers would give the same positions twice."""

import fcntl
import os
from pathlib import Path


class InUse(Exception):
    """Another process has the log open."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"{path} is open in another process{f' ({holder})' if holder else ''}; stop that one, or take another file"
        )


class Lock:
    """A lock on a file beside the log. The kernel lets go of it when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        """Takes the lock; InUse when somebody has it."""
        self._descriptor = os.open(path.with_name(path.name + "-lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 64, 0).decode(errors="replace")
            os.close(self._descriptor)
            raise InUse(path, holder) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"process {os.getpid()}".encode(), 0)

    def release(self) -> None:
        """Lets go of it."""
        os.close(self._descriptor)
