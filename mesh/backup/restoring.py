"""The way back: a backup checked, what is there put aside and never deleted, and the files put in its place."""

import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mesh import instance, migrations
from mesh.backup import manifest
from mesh.backup.manifest import DATA, BadBackupError, Manifest
from mesh.settings import CHECKOUT

_RESTORING, _REPLACED = instance.RESTORING, "replaced"
# no data: what stays where it is
_LEFT_THERE = {instance.FILE, _RESTORING, _REPLACED, "log", "run", "envoy"}
Advanced = Callable[[int, int, str], None]


class DataThereError(RuntimeError):
    """The data folder holds data already."""


@dataclass(frozen=True)
class Restored:
    """What was restored, and where what had been there is now; None when nothing had."""

    manifest: Manifest
    aside: Path | None


def restore(source: Path, data_folder: Path, advanced: Advanced, *, force: bool = False) -> Restored:
    """Puts a backup in place. BadBackupError when it is not whole or too new, DataThereError without `force`, instance.InUseError.

    OSError when there is no room. No mesh can start meanwhile, nor after an interruption until it has been restored again.
    """
    with instance.held(data_folder, 0, "", restoring=True):
        staged = data_folder / _RESTORING
        there = [path for path in data_folder.iterdir() if path.name not in _LEFT_THERE]
        if there and not force and not staged.exists():
            raise DataThereError(f"{data_folder} holds data already ({there[0].name}, ...)")
        before = staged.exists()
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(mode=0o700)
        try:
            found = _unpacked(source, staged, advanced)
        except BaseException:
            # nothing has been touched yet, unless by a restore that was interrupted before
            if not before:
                shutil.rmtree(staged, ignore_errors=True)
            raise
        aside = _put_aside(data_folder, there)
        for path in sorted((staged / DATA).iterdir()):
            path.rename(data_folder / path.name)
        _sync(data_folder)
        shutil.rmtree(staged)
        return Restored(found, aside)


def _unpacked(source: Path, staged: Path, advanced: Advanced) -> Manifest:
    """Brings the backup's files beside the data, checked."""
    if not source.exists():
        raise BadBackupError(f"there is no {source}")
    if source.is_dir():
        found = manifest.read(source)
        try:
            shutil.copytree(source, staged, dirs_exist_ok=True)
        except shutil.Error as error:
            # it goes on to the end and tells all that failed
            raise OSError(error.args[0][0][-1]) from error
    else:
        _extract(source, staged)
        found = manifest.read(staged)
    wrong = [*manifest.checked(found, staged, lambda done: advanced(done, found.size, "checking")), *_too_new(found)]
    if wrong:
        raise BadBackupError("; ".join(wrong))
    _only_what_is_named(found, staged)
    return found


def _extract(source: Path, staged: Path) -> None:
    """The plain files of an archive; nothing that would land elsewhere."""
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                target = staged / member.name
                content = archive.extractfile(member) if member.isfile() else None
                if content and target.resolve().is_relative_to(staged.resolve()):
                    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    with target.open("wb") as file:
                        shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno:
            # the system's own: no room, no right. What is no archive has no number
            raise
        raise BadBackupError(f"{source} is no archive that can be read: {error}") from error


def _only_what_is_named(found: Manifest, staged: Path) -> None:
    """Files that the manifest does not name are not restored; those that it names are for their owner alone."""
    named = {staged / DATA / entry.path for entry in found.files}
    for path in (staged / DATA).rglob("*"):
        if path.is_file() and path not in named:
            path.unlink()
        elif path.is_file():
            path.chmod(0o600)
            _sync(path)


def _too_new(found: Manifest) -> list[str]:
    """Which files were written by a version that knows migrations which this one does not."""
    wrong = []
    for entry in found.files:
        if unknown := [each for each in entry.migrations if not _is_known(entry.path, each)]:
            text = f"{entry.path} has migration {unknown[0]}, which this version does not know"
            wrong.append(f"{text}; restore it with version {found.version} or a newer one")
    return wrong


def _is_known(path: str, migration: str) -> bool:
    owner, _, number = migration.partition("/")
    folder = path.split("/", maxsplit=1)[0]
    if owner == "kit":
        schema = migrations.KIT
    elif owner == "user_version":
        schema = CHECKOUT / folder / "schema"
    else:
        schema = CHECKOUT / "services" / owner / "schema"
    return number.isdecimal() and any(file.name.startswith(f"{int(number):04d}_") for file in schema.glob("*.sql"))


def _put_aside(data_folder: Path, there: list[Path]) -> Path | None:
    if not there:
        return None
    aside = data_folder / _REPLACED / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside.mkdir(parents=True, mode=0o700)
    for path in there:
        path.rename(aside / path.name)
    return aside


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
