"""A full disk, in two ways: a limit in the library that stands before the C library, and, for root, a small tmpfs of its own."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.robustness.faults.disk import Disk

_TMPFS_BYTES = 64 * 1024 * 1024


class Room(Protocol):
    """A place for the bus's files that can be filled up."""

    env: Mapping[str, str]
    before: Sequence[str]

    def fill(self, room: int) -> None:
        """Leaves so many bytes."""

    def make_room(self) -> None:
        """Takes away what fills it."""


class Quota:
    """Files that can grow only so far: works for everyone."""

    before: Sequence[str] = ()

    def __init__(self, scratch: Path, folder: Path) -> None:
        self._disk = Disk(scratch, folder)
        self.env = self._disk.env()

    def fill(self, room: int) -> None:
        """Leaves so many bytes."""
        self._disk.fill(room)

    def make_room(self) -> None:
        """Takes the limit away."""
        self._disk.make_room()


class Tmpfs:
    """A real small file system, in a mount namespace that only the bus is in."""

    env: Mapping[str, str] = {}

    def __init__(self, holder: int, folder: Path) -> None:
        self.before: Sequence[str] = ("nsenter", "--target", str(holder), "--mount", "--")
        self._filler = Path(f"/proc/{holder}/root{folder.resolve()}") / "filler"

    def fill(self, room: int) -> None:
        """Leaves so many bytes."""
        found = os.statvfs(self._filler.parent)
        with self._filler.open("ab") as filler:
            filler.write(bytes(max(0, found.f_bavail * found.f_frsize - room)))

    def make_room(self) -> None:
        """Removes what fills it."""
        self._filler.unlink()


@contextmanager
def quota(scratch: Path, folder: Path) -> Iterator[Room]:
    """A folder with a limit."""
    yield Quota(scratch, folder)


@contextmanager
def tmpfs(scratch: Path, folder: Path) -> Iterator[Room]:
    """A folder that is a small tmpfs, for as long as the block lasts."""
    folder.mkdir(parents=True)
    mount = f"mount -t tmpfs -o size={_TMPFS_BYTES} none '{folder}' && echo mounted && exec cat"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        if holder.stdout is None or holder.stdout.readline() != b"mounted\n":
            raise RuntimeError("no tmpfs could be mounted; run the tests as root, or not as root at all")
        try:
            yield Tmpfs(holder.pid, folder)
        finally:
            # the namespace goes with its last process, and the tmpfs with it
            holder.communicate()


WAYS = [quota, tmpfs] if os.geteuid() == 0 else [quota]
