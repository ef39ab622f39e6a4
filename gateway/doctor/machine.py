"""Checks of the machine: versions, disk, clock, limits. Pure: what was measured comes in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.doctor.finding import Finding, fault, ok, warn

_PYTHON, _SQLITE = (3, 11), (3, 37)
_GIB, _MIB = 1024**3, 1024**2
_LITTLE_BYTES, _LEAST_BYTES, _LITTLE_SHARE = 5 * _GIB, 256 * _MIB, 0.05
_MEMORY_SYSTEMS = {"tmpfs", "ramfs", "rootfs"}
_NETWORK_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "lustre"}
_SLOW_MS, _SLOWEST_MS, _UNBELIEVABLE_MS = 20.0, 200.0, 0.01
_DRIFT, _AHEAD = 0.05, timedelta(minutes=2)
# this program is younger than that
_BEGINNING = 2025
# per process; the door alone may hold 4096 connections of callers
_FEW_FILES, _FEWEST_FILES = 8192, 1024


@dataclass(frozen=True)
class Disk:
    """The disk under the data folder: room, kind, and how long each of some syncs took, in milliseconds."""

    free: int
    total: int
    kind: str
    syncs: Sequence[float]


def python(version: tuple[int, int, int]) -> Finding:
    """Python's version."""
    seen = "Python " + ".".join(map(str, version))
    if version[:2] < _PYTHON:
        return fault("python", seen, "the mesh needs 3.11 or newer", "make PYTHON=/path/to/python3.11 install")
    return ok("python", seen)


def sqlite(version: str) -> Finding:
    """The version of SQLite that Python brings."""
    if tuple(map(int, version.split(".")[:2])) < _SQLITE:
        return fault("sqlite", f"SQLite {version}", "the tables need 3.37 or newer", "take a Python with a newer SQLite")
    return ok("sqlite", f"SQLite {version}")


def envoy(version: str, answer: str) -> Finding:
    """The door's binary: what it was installed as, and what it says when it is called ("" when it cannot be)."""
    if version not in answer or not answer:
        return fault("envoy", answer or f"Envoy {version} cannot be called", "there is no door without it", "make clean install")
    return ok("envoy", f"Envoy {version}")


def built(name: str, made: float | None, newest_source: float, todo: str) -> Finding:
    """Something that is built from sources: when it was made (None: never), and when the newest source was changed."""
    if made is None:
        return fault(name, "not built", "the mesh cannot start without", todo)
    if made < newest_source:
        return warn(name, "older than its sources", "calls and pages may not be what the sources say", todo)
    return ok(name, "fresh")


def space(disk: Disk) -> Finding:
    """Room on the disk."""
    seen = f"{disk.free / _GIB:.1f} GiB free of {disk.total / _GIB:.1f}"
    todo = "make room, or move the data folder (TOOLOO_DATA_FOLDER) to a larger disk"
    if disk.free < _LEAST_BYTES:
        return fault("disk space", seen, "writes will soon be refused", todo)
    if disk.free < _LITTLE_BYTES and disk.free < disk.total * _LITTLE_SHARE:
        return warn("disk space", seen, "the log and the services' files grow; when the disk is full writes are refused", todo)
    return ok("disk space", seen)


def file_system(disk: Disk) -> Finding:
    """What kind of file system it is."""
    todo = "move the data folder (TOOLOO_DATA_FOLDER) to a local disk"
    if disk.kind in _NETWORK_SYSTEMS:
        return fault("file system", disk.kind, "SQLite's write-ahead log is not safe on a network file system", todo)
    if disk.kind in _MEMORY_SYSTEMS:
        return warn("file system", disk.kind, "it is memory: everything is gone when the machine restarts", todo)
    return ok("file system", disk.kind)


def sync(disk: Disk) -> Finding:
    """How long it takes until something is on the disk: every acknowledged write waits for it."""
    middle, slowest = quantile(disk.syncs, 0.5), quantile(disk.syncs, 0.99)
    seen = f"a sync takes {middle:.2f} ms (p50), {slowest:.2f} ms (p99)"
    if middle < _UNBELIEVABLE_MS and disk.kind not in _MEMORY_SYSTEMS:
        meaning = "no disk is so fast: something leaves out the sync, and a power cut takes what was acknowledged"
        return warn("disk sync", seen, meaning, "look for eatmydata, nobarrier or a virtual disk with an unsafe cache")
    if middle > _SLOW_MS or slowest > _SLOWEST_MS:
        return warn(
            "disk sync", seen, "every write waits so long for its answer", "use a local SSD; look for who else uses the disk"
        )
    return ok("disk sync", seen)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def clock(now: datetime, wall: float, monotonic: float, newest_file: datetime | None) -> Iterator[Finding]:
    """The clock of the day: its rate against the one that only grows, and whether files are from the future."""
    todo = "let the machine keep its time by NTP (timedatectl set-ntp true)"
    if now.year < _BEGINNING:
        yield fault("clock", f"it is {now:%Y-%m-%d}", "certificates, schedules and retention go by the clock", todo)
    elif abs(wall - monotonic) > _DRIFT * monotonic:
        seen = f"{wall:.3f} s of the clock in {monotonic:.3f} s"
        yield warn("clock", seen, "the clock is being set; schedules may fire early or late", todo)
    elif newest_file and newest_file - now > _AHEAD:
        seen = f"a file of the data folder was written at {newest_file:%Y-%m-%d %H:%M:%S}, it is {now:%Y-%m-%d %H:%M:%S}"
        yield warn("clock", seen, "the clock was set back; new events get the time of the newest one until it is passed", todo)
    else:
        yield ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def open_files(limit: int) -> Finding:
    """How many files a process may have open."""
    todo = "ulimit -n 65536, or LimitNOFILE=65536 in the systemd unit"
    if limit < _FEWEST_FILES:
        return fault("open files", str(limit), "the door and the bus need one for each connection", todo)
    if limit < _FEW_FILES:
        return warn("open files", str(limit), "with some thousand connections the door would refuse more", todo)
    return ok("open files", str(limit))
