"""What git says of a folder, read from its files: where the working tree begins, what is ignored, which commit is checked out."""

import re
from dataclasses import dataclass
from pathlib import Path

_COMMIT = re.compile(r"^[0-9a-f]{40}(?:[0-9a-f]{24})?$")
# HEAD may name a reference that names another one; git follows five
_MOST_REFERENCES = 5
_LARGEST = 1024 * 1024


@dataclass(frozen=True)
class Place:
    """A working tree: its top folder, the folder of its HEAD, and the folder of what all its worktrees share."""

    top: Path
    private: Path
    shared: Path


def find(folder: Path) -> Place | None:
    """The working tree that a folder is in; None outside git."""
    for top in (folder, *folder.parents):
        private = _private_folder(top / ".git")
        if private:
            shared = _followed(private, read_text(private / "commondir"))
            return Place(top, private, shared or private)
    return None


def _private_folder(mark: Path) -> Path | None:
    try:
        if mark.is_dir():
            return mark if (mark / "HEAD").is_file() else None
        name = read_text(mark)
    except OSError:
        return None
    return _followed(mark.parent, name[8:]) if name.startswith("gitdir: ") else None


def _followed(base: Path, name: str) -> Path | None:
    """The folder that a file of git names; None for none, for NULs as a power cut leaves them, and for links in a circle."""
    try:
        return (base / name.strip()).resolve() if name.strip() else None
    except (OSError, RuntimeError, ValueError):
        return None


def head(place: Place | None) -> str:
    """The commit that is checked out, in hexadecimal; "" before the first commit, outside git, or when it cannot be read."""
    if place is None:
        return ""
    value = read_text(place.private / "HEAD").strip()
    for _ in range(_MOST_REFERENCES):
        if not value.startswith("ref: "):
            break
        value = _reference(place, value.removeprefix("ref: ").strip())
    return value if _COMMIT.match(value) else ""


def _reference(place: Place, name: str) -> str:
    if ".." in name or not name.startswith("refs/"):
        return ""
    for folder in (place.private, place.shared):
        if value := read_text(folder / name).strip():
            return value
    for line in read_text(place.shared / "packed-refs").splitlines():
        if line.endswith(f" {name}"):
            return line.split(" ")[0]
    return ""


def read_text(path: Path) -> str:
    """A small file's text; "" when there is none or it cannot be read."""
    return read_bytes(path).decode("utf-8", "replace")


def read_bytes(path: Path) -> bytes:
    """A small file's bytes, 1 MiB of it at most; b"" when there is none, it cannot be read, or it is no regular file."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except (OSError, ValueError):
        return b""
