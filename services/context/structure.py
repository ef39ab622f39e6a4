"""A repository's tree with sizes that add up."""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass
class Totals:
    """What a folder holds, all levels below it included: files, their bytes, their lines."""

    files: int = 0
    bytes: int = 0
    lines: int = 0

    def add(self, size: int, lines: int) -> None:
        """Counts one more file."""
        self.files += 1
        self.bytes += size
        self.lines += lines


@dataclass(frozen=True)
class Entry:
    """A folder or file that is to be shown; the root has the path ""."""

    path: str
    folder: bool
    totals: Totals
    language: str = ""


@dataclass
class Node:
    """An entry in its place; `truncated` when it holds something that is not shown."""

    entry: Entry
    children: list["Node"] = field(default_factory=list)
    truncated: bool = False
    rank: float = 0.0


def depth_of(path: str) -> int:
    """Level in the tree: the root 0, what is directly in it 1."""
    return path.count("/") + 1 if path else 0


def folder_totals(files: Iterable[tuple[str, int, int]]) -> dict[str, Totals]:
    """Totals of every folder, the root included; `files` gives (path, bytes, lines)."""
    folders: dict[str, Totals] = {"": Totals()}
    for path, size, lines in files:
        folder = path
        while folder:
            folder = posixpath.dirname(folder)
            folders.setdefault(folder, Totals()).add(size, lines)
    return folders


def ranks_with_folders(ranks: Mapping[str, float]) -> dict[str, float]:
    """The rank of every file, and of every folder the sum of what is below it."""
    found = dict(ranks)
    for path, rank in ranks.items():
        folder = path
        while folder:
            folder = posixpath.dirname(folder)
            found[folder] = found.get(folder, 0.0) + rank
    return found


def tree(root: Totals, entries: Sequence[Entry], folder: str = "", ranks: Mapping[str, float] = MappingProxyType({})) -> Node:
    """Puts entries into their places below a folder, with their ranks.

    `entries` come with upper levels first, so that each one's folder is there before it.
    """
    known = ranks_with_folders(ranks)
    nodes = {folder: Node(Entry(folder, folder=True, totals=root))}
    for entry in entries:
        node = nodes[entry.path] = Node(entry)
        nodes[posixpath.dirname(entry.path)].children.append(node)
    for node in nodes.values():
        node.children.sort(key=lambda child: (not child.entry.folder, child.entry.path))
        shown = sum(child.entry.totals.files for child in node.children)
        node.truncated = node.entry.folder and shown < node.entry.totals.files
        node.rank = known.get(node.entry.path, 0.0)
    return nodes[folder]
