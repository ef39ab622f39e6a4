"""The second half of a run: where the imports lead now, which folders hold how much, which files are central."""

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from mesh.db import Row, Transaction
from services.context import store
from services.context.centrality import Central, most_central
from services.context.progress import Meter, Phase
from services.context.resolving import Resolver
from services.context.store import Link, Repository
from services.context.structure import Totals, folder_totals

_PAGE = 2000
T = TypeVar("T")

Write = Callable[[Callable[[Transaction], Awaitable[None]]], Awaitable[None]]


class Read(Protocol):
    """Runs statements in a transaction that reads, and gives what they give."""

    async def __call__(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """What `work` gives."""
        ...


@dataclass
class _Files:
    """The files of the generation that is being built, in the order of their paths."""

    paths: list[str] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    sizes: list[tuple[str, int, int]] = field(default_factory=list)
    place_of_id: dict[int, int] = field(default_factory=dict)
    place_of_path: dict[str, int] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Adds the next file."""
        self.place_of_id[row["file_id"]] = self.place_of_path[row["path"]] = len(self.paths)
        self.paths.append(row["path"])
        self.languages.append(row["language"])
        self.sizes.append((row["path"], row["bytes"], row["lines"]))


@dataclass
class _Edges:
    """Distinct pairs of places: a file and one that it imports; kept small, for a large tree has a million."""

    sources: "array[int]" = field(default_factory=lambda: array("l"))
    targets: "array[int]" = field(default_factory=lambda: array("l"))
    _of_last: set[int] = field(default_factory=set)

    def add_all(self, files: _Files, links: Sequence[Link], targets: Sequence[str]) -> None:
        """Adds the edges of imports that lead somewhere; those of one file come one after another."""
        for each, target in zip(links, targets, strict=True):
            if target:
                self._add(files.place_of_id[each.file_id], files.place_of_path[target])

    def _add(self, source: int, target: int) -> None:
        if not self.sources or self.sources[-1] != source:
            self._of_last.clear()
        if target not in self._of_last:
            self._of_last.add(target)
            self.sources.append(source)
            self.targets.append(target)

    def pairs(self) -> list[tuple[int, int]]:
        """All of them."""
        return list(zip(self.sources, self.targets, strict=True))


async def link(read: Read, write: Write, at: Repository, max_central: int, meter: Meter) -> int:
    """Brings targets, folders and central files of the generation that is being built up to date; gives the resolved imports."""
    meter.enter(Phase.RESOLVING)
    files = await _files(read, at)
    modules = await read(partial(store.built_go_modules, at=at))
    resolver = await asyncio.to_thread(Resolver, files.paths, modules, Path(at.root).name)
    edges, resolved = _Edges(), 0
    # the order in which imports come
    ids = sorted(files.place_of_id)
    meter.enter(Phase.RESOLVING, len(ids))
    async for page in _pages(read, at):
        targets = [_target(files, resolver, each) for each in page]
        resolved += sum(bool(target) for target in targets)
        edges.add_all(files, page, targets)
        changed = [(each, target) for each, target in zip(page, targets, strict=True) if target != each.target]
        if changed:
            await write(partial(store.change_targets, at=at, changed=changed))
        meter.reach(bisect_right(ids, page[-1].file_id) if page else len(ids))
    meter.enter(Phase.RANKING)
    folders, central = await asyncio.to_thread(_shape, files, edges, max_central)
    await write(partial(store.add_shape, at=at, folders=folders, central=central))
    return resolved


def _target(files: _Files, resolver: Resolver, found: Link) -> str:
    place = files.place_of_id[found.file_id]
    return resolver.resolve(files.paths[place], files.languages[place], found)


def _shape(files: _Files, edges: _Edges, max_central: int) -> tuple[dict[str, Totals], list[Central]]:
    return folder_totals(files.sizes), most_central(files.paths, edges.pairs(), max_central)


async def _files(read: Read, at: Repository) -> _Files:
    files, after = _Files(), ""
    while True:
        rows = await read(partial(store.built_files, at=at, after=after, limit=_PAGE))
        for row in rows:
            files.add(row)
        if len(rows) < _PAGE:
            return files
        after = rows[-1]["path"]


async def _pages(read: Read, at: Repository) -> AsyncIterator[list[Link]]:
    after = (0, -1)
    while True:
        page = await read(partial(store.built_links, at=at, after=after, limit=_PAGE))
        yield page
        if len(page) < _PAGE:
            return
        after = (page[-1].file_id, page[-1].place)
