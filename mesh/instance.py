"""Which process manager runs on a data folder: a file there that it keeps locked as long as it lives, and that says who it is.

The kernel lets go of the lock however the process ends, so nothing that a killed one left behind is taken for a running mesh.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "mesh.lock"
# a folder that a restore makes first and removes last: data beside it is not whole
RESTORING = "restoring"
_LARGEST = 4096


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


class InUseError(RuntimeError):
    """Another process manager runs on this data folder."""


def started(pid: int) -> str:
    """When a process was started, in the kernel's ticks since boot: tells it from a later one with the same id; "" of none."""
    try:
        # the name of the program, which stands in brackets, may hold anything
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


@contextmanager
def held(folder: Path, door_port: int, listen_address: str, *, restoring: bool = False) -> Iterator[None]:
    """Says that this process runs or restores the mesh of the folder as long as the block lasts; InUseError when another does."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / FILE, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        if not _lock(descriptor):
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
    """The process manager that runs on the folder, if one does."""
    try:
        descriptor = os.open(folder / FILE, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        return None if _lock(descriptor) else _read(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> Instance:
    """Who holds the lock; one that has not yet said who it is has no process id."""
    try:
        return Instance(**json.loads(os.pread(descriptor, _LARGEST, 0)))
    except (ValueError, TypeError):
        return Instance(0, "", 0, "")


def _in_use(folder: Path, holder: Instance) -> str:
    who = f"process {holder.pid}, door on port {holder.door_port}" if holder.pid else "another process"
    return f"a mesh runs on {folder.absolute()} already ({who}): stop it (tooloo down), or set TOOLOO_DATA_FOLDER to another folder"
