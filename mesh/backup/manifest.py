"""What a backup says of itself: when it was taken, of which version, and of each file its size, its hash and its migrations."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FILE = "manifest.json"
DATA = "data"
FORMAT = 1
_BLOCK = 1024 * 1024


class BadBackupError(RuntimeError):
    """A backup that cannot be used; the message says why."""


@dataclass(frozen=True)
class Entry:
    """A file of the backup, by its path in the data folder."""

    path: str
    size: int
    sha256: str
    migrations: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Manifest:
    """The backup as a whole. `head` is the position of the newest event in it."""

    format: int
    version: str
    taken: str
    head: int
    pause_ms: float
    files: list[Entry]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)


def write(manifest: Manifest, folder: Path) -> None:
    """Writes it beside the data."""
    path = folder / FILE
    path.touch(mode=0o600)
    path.write_text(json.dumps(asdict(manifest), indent=2) + "\n")


def read(folder: Path) -> Manifest:
    """Reads it; BadBackupError when it is not there or is none."""
    try:
        raw: dict[str, Any] = json.loads((folder / FILE).read_text())
        if raw["format"] != FORMAT:
            text = f"the backup has format {raw['format']}, this version reads {FORMAT}"
            raise BadBackupError(f"{text}; restore it with the version that it names")
        return Manifest(**(raw | {"files": [Entry(**entry) for entry in raw["files"]]}))
    except FileNotFoundError:
        raise BadBackupError(f"there is no {FILE} in {folder}, so it is no backup") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadBackupError(f"{folder / FILE} cannot be read: {error}") from error


def checked(manifest: Manifest, folder: Path, advanced: Callable[[int], None]) -> Iterator[str]:
    """What does not fit between the manifest and the files; `advanced` is told how many bytes have been looked at."""
    done = 0
    if not manifest.files:
        yield "it holds no files"
    for entry in manifest.files:
        path = folder / DATA / entry.path
        if not path.resolve().is_relative_to((folder / DATA).resolve()):
            yield f"{entry.path} lies outside of the data folder"
        elif not path.is_file():
            yield f"{entry.path} is missing"
        elif path.stat().st_size != entry.size or sha256(path) != entry.sha256:
            yield f"{entry.path} is not what was backed up"
        done += entry.size
        advanced(done)


def sha256(path: Path) -> str:
    """Hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
