"""Which process manager runs on a data folder: a file there that it keeps locked as long as it lives, and that says who it is.

The kernel lets go of the lock however the process ends, so nothing that a killed one left behind is taken for a running mesh.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "mesh.lock"
# a folder that a restore makes first and removes last: data beside it is not whole
RESTORING = "restoring"
_LARGEST = 4096
# a look at who holds the lock takes microseconds
_LOOKS, _LOOK_S = 20, 0.01


@dataclass(frozen=True)
class Instance:
    """A running process manager: its process, when that was started (as the kernel counts), and its ports."""

    pid: int
    started: str
    door_port: int
    listen_address: str

    @property
    def alive(self) -> bool:
        """True when that very process runs, and not another one that got its id."""
        return started(self.pid) == self.started


class FolderError(RuntimeError):
    """A data folder that cannot be used; the message names it and says what to do."""


class InUseError(FolderError):
    """Another process manager runs on this data folder."""


def started(pid: int) -> str:
    """When a process was started, in the kernel's ticks since boot: tells it from a later one with the same id; "" of none."""
    try:
        # the name of the program, which stands in brackets, may hold anything
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def make(folder: Path) -> None:
    """Makes the folder, for its user alone, unless it is there; FolderError when that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _unusable(folder, error) from error


@contextmanager
def held(folder: Path, door_port: int, listen_address: str, *, restoring: bool = False) -> Iterator[None]:
    """Says that this process runs or restores the mesh of the folder as long as the block lasts; InUseError when another does.

    FolderError for a folder that cannot be made or written.
    """
    make(folder)
    try:
        descriptor = os.open(folder / FILE, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        if not _taken(descriptor):
            raise InUseError(_in_use(folder, _read(descriptor)))
        if (folder / RESTORING).exists() and not restoring:
            raise InUseError(
                f"a restore into {folder.absolute()} was interrupted, its data is not whole: call tooloo restore again"
            )
        own = Instance(os.getpid(), started(os.getpid()), door_port, listen_address)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(own)).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def running(folder: Path) -> Instance | None:
    """The process manager that runs on the folder, if one does; FolderError for a folder that cannot be looked into."""
    try:
        descriptor = os.open(folder / FILE, os.O_RDWR)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        # shared: who looks at the same time is no process manager
        return None if _lock(descriptor, fcntl.LOCK_SH) else _read(descriptor)
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Takes the lock; somebody who only looks has it for a moment."""
    for _ in range(_LOOKS):
        if _lock(descriptor, fcntl.LOCK_EX):
            return True
        time.sleep(_LOOK_S)
    return False


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unusable(folder: Path, error: OSError) -> FolderError:
    step = "set TOOLOO_DATA_FOLDER to a folder that this user may write"
    return FolderError(f"the data folder {folder.absolute()} cannot be used ({error.strerror}): {step}")


def _read(descriptor: int) -> Instance:
    """Who holds the lock; one that has not yet said who it is has no process id."""
    try:
        return Instance(**json.loads(os.pread(descriptor, _LARGEST, 0)))
    except (ValueError, TypeError):
        return Instance(0, "", 0, "")


def _in_use(folder: Path, holder: Instance) -> str:
    who = f"process {holder.pid}, door on port {holder.door_port}" if holder.pid else "another process"
    return f"a mesh runs on {folder.absolute()} already ({who}): stop it (tooloo down), or set TOOLOO_DATA_FOLDER to another folder"
