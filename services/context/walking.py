"""Walks a source tree in the order of its paths, without what is ignored, holding no more than one folder per level."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from services.context import git
from services.context.ignoring import Rules, ignored, rules

_LATEST = 2**63 - 1
_LAST_CONTROL, _DELETE = "\x1f", "\x7f"


class Reason(IntEnum):
    """Why a file is not in the index; the numbers are those of the contract's SkipReason and of the store."""

    IGNORED = 1
    BINARY = 2
    TOO_LARGE = 3
    SYMLINK = 4
    NOT_REGULAR = 5
    UNREADABLE = 6
    VANISHED = 7
    UNUSABLE_NAME = 8


@dataclass(frozen=True)
class Found:
    """A regular file: path relative to the root with "/", size in bytes, times in nanoseconds."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True)
class Skipped:
    """Something that does not get into the index, with the reason. Its path is fit to be shown."""

    path: str
    reason: Reason


@dataclass(frozen=True)
class _Folder:
    """A folder on the way down: its path relative to the root ("" or "a/b/"), the rules for what is in it, what is left to do."""

    path: str
    stack: tuple[Rules, ...]
    entries: Iterator[os.DirEntry[str]]


class Walk:
    """One walk of a tree. Iterating gives files and skips; paths of files grow in the order of their letters' code points."""

    def __init__(self, root: Path, skip_names: frozenset[str], max_file_bytes: int) -> None:
        self._root = root
        self._skip_names = skip_names
        self._max_file_bytes = max_file_bytes
        place = git.find(root)
        self._above = "" if place is None or place.top == root else root.relative_to(place.top).as_posix() + "/"
        self._outer = _outer_rules(place, self._above)

    def __iter__(self) -> Iterator[Found | Skipped]:
        """Every entry once; what vanishes or cannot be read on the way is a skip."""
        open_folders: list[_Folder] = []
        yield from self._enter("", self._outer, open_folders)
        while open_folders:
            folder = open_folders[-1]
            entry = next(folder.entries, None)
            if entry is None:
                open_folders.pop()
                continue
            path = folder.path + entry.name
            if not _usable(entry.name):
                yield Skipped(_shown(path), Reason.UNUSABLE_NAME)
            elif entry.name in self._skip_names or ignored(self._above + path, _is_folder(entry), folder.stack):
                yield Skipped(path, Reason.IGNORED)
            elif _is_folder(entry):
                yield from self._enter(path + "/", folder.stack, open_folders)
            else:
                yield self._file(path, entry)

    def _enter(self, path: str, stack: tuple[Rules, ...], open_folders: list[_Folder]) -> Iterator[Skipped]:
        folder = self._root / path
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=_order)
        except OSError as error:
            yield Skipped(path, _why(error))
            return
        if path and any(entry.name == ".git" for entry in listed):
            inner = self._inner(folder, path)
            stack = stack if inner is None else inner
        own = _rules_of(folder, self._above + path)
        open_folders.append(_Folder(path, (*stack, own) if own else stack, iter(listed)))

    def _inner(self, folder: Path, path: str) -> tuple[Rules, ...] | None:
        """What a working tree within the tree, such as a submodule, begins with: the rules around it do not reach into it."""
        place = git.find(folder)
        if place is None or place.top != folder:
            return None
        own = _excluded(place, self._above + path)
        return (own,) if own else ()

    def _file(self, path: str, entry: os.DirEntry[str]) -> Found | Skipped:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            return Skipped(path, _why(error))
        if stat.S_ISLNK(status.st_mode):
            return Skipped(path, Reason.SYMLINK)
        if not stat.S_ISREG(status.st_mode):
            return Skipped(path, Reason.NOT_REGULAR)
        if status.st_size > self._max_file_bytes:
            return Skipped(path, Reason.TOO_LARGE)
        return Found(path, status.st_size, *times(status))


def times(status: os.stat_result) -> tuple[int, int]:
    """When a file was written and when it was changed, in nanoseconds; times after 2262 as the last that fits into 64 bits."""
    return min(status.st_mtime_ns, _LATEST), min(status.st_ctime_ns, _LATEST)


def _order(entry: os.DirEntry[str]) -> str:
    """A folder is sorted as the beginning of the paths in it, so that the walk as a whole is in the order of paths."""
    return entry.name + "/" if _is_folder(entry) else entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _why(error: OSError) -> Reason:
    return Reason.VANISHED if isinstance(error, FileNotFoundError | NotADirectoryError) else Reason.UNREADABLE


def _usable(name: str) -> bool:
    return (name.isascii() and name.isprintable()) or not any(_bad(letter) for letter in name)


def _bad(letter: str) -> bool:
    return letter <= _LAST_CONTROL or letter == _DELETE or "\ud800" <= letter <= "\udfff"


def _shown(path: str) -> str:
    return "".join("�" if _bad(letter) else letter for letter in path)


def _rules_of(folder: Path, base: str) -> Rules | None:
    """The folder's .gitignore. Git does not follow one that is a symbolic link, nor do we."""
    path = folder / ".gitignore"
    # unlike Path.is_symlink this does not raise in a folder that may be listed and not entered, or where the path becomes too long
    return None if os.path.islink(path) else rules(base, git.read_bytes(path))


def _excluded(place: git.Place, base: str) -> Rules | None:
    """The rules of a working tree that are in none of its files."""
    return rules(base, git.read_bytes(place.shared / "info" / "exclude"))


def _outer_rules(place: git.Place | None, above: str) -> tuple[Rules, ...]:
    """Rules that stand above the root: .git/info/exclude, then the ignore files from the top of the working tree down."""
    if place is None:
        return ()
    found: list[Rules | None] = [_excluded(place, "")]
    parts = above.split("/")[:-1]
    for depth in range(len(parts)):
        base = "".join(part + "/" for part in parts[:depth])
        found.append(_rules_of(place.top / base, base))
    return tuple(each for each in found if each)
