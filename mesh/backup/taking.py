"""Takes a backup: every SQLite file of the data folder at one moment, and whatever else lies beside them."""

import os
import shutil
import tarfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from mesh.backup import manifest, snapshot_store
from mesh.backup.manifest import DATA, Entry, Manifest
from mesh.settings import CHECKOUT

# made anew at each start, or of no use elsewhere: sockets, the door's files, logs, what a restore has put aside
_FOLDERS_LEFT_OUT = {"run", "envoy", "log", "replaced", "restoring"}
# SQLite's companions are in the snapshots; locks, the space kept back for a full disk and what serves are the processes' own
_ENDINGS_LEFT_OUT = ("-wal", "-shm", "-journal", "-lock", "-ballast", ".lock", ".sock", "serving.json", "serving.new")
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
# the writer of the bus is the busiest one
_FIRST = "bus"
Advanced = Callable[[int, int, str], None]


class NoBackupError(RuntimeError):
    """A backup that cannot be taken; the message says why and what to do."""


def take(data_folder: Path, target: Path, head_of: Callable[[Path], int], advanced: Advanced) -> Manifest:
    """Backs the folder up to `target`: a folder, or an archive when it is named so. `head_of` tells the newest position in a log.

    The target appears when it is whole. NoBackupError when it exists or there is nothing to back up, OSError without room.
    """
    if target.exists():
        raise NoBackupError(f"{target} exists already; take another name, a backup never overwrites")
    if target.resolve().is_relative_to(data_folder.resolve()):
        # each later backup would hold it too, and so grow to twice the size of the one before
        raise NoBackupError(f"{target} lies in the data folder, and every later backup would hold it too; take another place")
    files = sorted(_files(data_folder), key=lambda path: (path.relative_to(data_folder).parts[0] != _FIRST, path))
    if ruined := next(filter(snapshot_store.is_ruined, files), None):
        raise _damaged(ruined, "it does not begin like a file of SQLite")
    databases = [path for path in files if snapshot_store.is_database(path)]
    if not databases:
        raise NoBackupError(f"{data_folder} holds no data; is it the data folder of a mesh?")
    with _appearing(target) as folder:
        pause = _copy_databases(data_folder, databases, folder, advanced)
        for path in files:
            if path not in databases:
                _private(folder / DATA / path.relative_to(data_folder), path.read_bytes())
        made = _described(folder, pause, head_of)
        manifest.write(made, folder)
    return made


def _files(data_folder: Path) -> Iterator[Path]:
    for path in data_folder.rglob("*"):
        inside = path.relative_to(data_folder)
        wanted = inside.parts[0] not in _FOLDERS_LEFT_OUT and not inside.name.endswith(_ENDINGS_LEFT_OUT)
        if wanted and path.is_file() and not path.is_symlink():
            yield path


def _copy_databases(data_folder: Path, databases: Sequence[Path], folder: Path, advanced: Advanced) -> float:
    with snapshot_store.one_moment(databases) as moment:
        total, done = sum(map(snapshot_store.size, moment.snapshots)), 0
        for path, snapshot in zip(databases, moment.snapshots, strict=True):
            inside = path.relative_to(data_folder)
            size = snapshot_store.size(snapshot)
            copy = folder / DATA / inside
            _private(copy, b"")
            snapshot_store.copy(snapshot, copy, partial(_advance, advanced, done, total, str(inside)))
            done += size
    return moment.pause


def _advance(advanced: Advanced, before: int, total: int, label: str, size: int) -> None:
    advanced(before + size, total, label)


def _described(folder: Path, pause: float, head_of: Callable[[Path], int]) -> Manifest:
    """The manifest of what was copied; NoBackupError when a copy is not sound."""
    entries = []
    for path in sorted((folder / DATA).rglob("*")):
        if path.is_file():
            entries.append(_entry(folder, path))
    log = folder / DATA / "bus" / "log.db"
    head = head_of(log) if log.exists() else 0
    for left in (folder / DATA).rglob("*.db-*"):
        # made by the look at the head
        left.unlink()
    return Manifest(manifest.FORMAT, version(), datetime.now(UTC).isoformat(), head, round(pause * 1000, 3), entries)


def _entry(folder: Path, path: Path) -> Entry:
    database = snapshot_store.is_database(path)
    if database and (found := snapshot_store.faults(path)):
        raise _damaged(path, found[0])
    migrations = snapshot_store.migrations(path) if database else []
    return Entry(path.relative_to(folder / DATA).as_posix(), path.stat().st_size, manifest.sha256(path), migrations)


def _damaged(path: Path, what: str) -> NoBackupError:
    return NoBackupError(f"{path.name} is damaged ({what}); tooloo doctor --deep says more, an older backup may be whole")


def version() -> str:
    """The version of this checkout."""
    return str(tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"])


def _private(path: Path, content: bytes) -> None:
    """A new file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder that becomes the target, or the archive of that name, when the block ends well, and vanishes when it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f"{target.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
        if target.name.endswith(_ARCHIVES):
            _pack(folder, target)
        else:
            _sync(folder)
            folder.rename(target)
        _sync_path(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _pack(folder: Path, target: Path) -> None:
    packed = target.with_name(f"{target.name}.packing")
    descriptor = os.open(packed, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w" if target.suffix == ".tar" else "w:gz") as archive:
                for name in (manifest.FILE, DATA):
                    archive.add(folder / name, name)
            file.flush()
            os.fsync(file.fileno())
        packed.rename(target)
    finally:
        packed.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Brings all files and folders below to the disk."""
    for path in (folder, *folder.rglob("*")):
        _sync_path(path)


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
