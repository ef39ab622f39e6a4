"""A disk that can be watched and can misbehave: disk.c, compiled once per test run, and the numbers that steer it from outside."""

import mmap
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_SOURCE = Path(__file__).with_name("disk.c")
# the order of disk.c
_NAMES = ("limited", "room", "sync_us", "fail_syncs", "failed_syncs", "hold", "held", "die")
_NUMBER = 8
# bits of fail_syncs
WAL = 1
DATABASE = 2


class Disk:
    """The disk under the files of one process. Everything may be changed while the process runs."""

    def __init__(self, scratch: Path, watched: Path, *, taped: bool = False) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        watched.mkdir(parents=True, exist_ok=True)
        self._library = _compile(scratch / "disk.so")
        self._watched = watched.resolve()
        self.tape = scratch / "tape"
        self._taped = taped
        self._control_file = scratch / "control"
        self._control_file.write_bytes(bytes(_NUMBER * len(_NAMES)))
        with self._control_file.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), 0)

    def env(self) -> Mapping[str, str]:
        """What the process must be started with to have this disk."""
        tape = {"TOOLOO_DISK_TAPE": str(self.tape)} if self._taped else {}
        return {
            "LD_PRELOAD": str(self._library),
            "TOOLOO_DISK_FOLDER": str(self._watched),
            "TOOLOO_DISK_CONTROL": str(self._control_file),
            **tape,
        }

    def fill(self, room: int) -> None:
        """Leaves so many bytes of room for files to grow."""
        self._set("room", room)
        self._set("limited", 1)

    def make_room(self) -> None:
        """Takes the limit away."""
        self._set("limited", 0)

    def slow_down(self, seconds: float) -> None:
        """Each sync takes so much longer from now on."""
        self._set("sync_us", int(seconds * 1e6))

    def fail_sync(self, of: int) -> None:
        """Lets the next sync of the write-ahead log (WAL) or of the database (DATABASE) fail, once."""
        self._set("fail_syncs", of)

    @property
    def failed_syncs(self) -> int:
        """Syncs that failed so far."""
        return self._get("failed_syncs")

    def hold(self) -> None:
        """From now on no sync ends before release()."""
        self._set("held", 0)
        self._set("hold", 1)

    def release(self) -> None:
        """Lets the syncs that are held end."""
        self._set("hold", 0)

    @property
    def holds(self) -> bool:
        """Whether a sync has been held since hold()."""
        return bool(self._get("held"))

    @contextmanager
    def deadly(self) -> Iterator[None]:
        """Whoever writes or syncs in the block is killed before it does: never between a write and its place on the tape."""
        self.die_at(1)
        yield
        self.die_at(0)

    def die_at(self, number: int) -> None:
        """Whoever does the write or sync of this number from now (1: the next) is killed before it does it; 0: nobody is."""
        self._set("die", number)

    @property
    def taped(self) -> int:
        """Bytes of the tape so far: the moment, in the order in which things reached the disk."""
        return self.tape.stat().st_size if self.tape.exists() else 0

    def _set(self, name: str, value: int) -> None:
        start = _NAMES.index(name) * _NUMBER
        self._control[start : start + _NUMBER] = value.to_bytes(_NUMBER, "little", signed=True)

    def _get(self, name: str) -> int:
        start = _NAMES.index(name) * _NUMBER
        return int.from_bytes(self._control[start : start + _NUMBER], "little", signed=True)


def _compile(library: Path) -> Path:
    if not library.exists():
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"], check=True)
    return library
