"""One run over a tree: walks it in stretches, reads what changed, and writes the next generation beside the one that is shown.

Nothing of it is shown before the end (store_queries.publish), so a run that is killed leaves the index before as it was; the next
run undoes what it left behind. Walk and index are both sorted by path and merged, so memory does not grow with the tree here;
linking holds the tree's paths and import pairs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from mesh.clock import to_us
from mesh.db import Transaction
from mesh.host import Host
from services.context import git, store, store_runs
from services.context.comparing import Changes, Known, compare
from services.context.flows.linking import link
from services.context.parsing import Parsed
from services.context.progress import Meter, Phase
from services.context.reading import Limits, Read
from services.context.settings import ContextSettings
from services.context.store import Repository
from services.context.walking import Found, Reason, Skipped, Walk
from services.context.workers.pool import Outcomes, Pool

_STRETCH = 512
_EXAMPLES = 5
T = TypeVar("T")
Entries = list[Found | Skipped]
ToRead = Sequence[tuple[Found, Known | None]]


class TreeTooLarge(Exception):
    """The tree has more than a setting allows; `setting` names it."""

    def __init__(self, setting: str, limit: int) -> None:
        super().__init__(f"the tree has more than {limit} {'bytes' if setting == 'max_tree_bytes' else 'files'}")
        self.setting = setting


class RunLost(Exception):
    """Another run of the same repository has begun, e.g. in another replica; it goes on instead of this one."""


class RootGone(Exception):
    """The folder vanished or became unreadable while it was walked."""


class RootReplaced(Exception):
    """Another folder took the place of the one that was walked."""


@dataclass
class Tally:
    """What a run has seen so far."""

    files: int = 0
    bytes: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    skipped: dict[Reason, tuple[int, list[str]]] = field(default_factory=dict)

    def skip(self, path: str, reason: Reason) -> None:
        """Counts a skip and keeps its path among the first few; batches are read side by side, so they come in any order."""
        count, examples = self.skipped.get(reason, (0, []))
        self.skipped[reason] = count + 1, sorted([*examples, path])[:_EXAMPLES]

    @property
    def anything_new(self) -> bool:
        """True when the index has to change."""
        return bool(self.added or self.changed or self.deleted)


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the generation to show and what goes with it."""

    generation: int
    resolved_imports: int
    skipped: Mapping[Reason, tuple[int, list[str]]]
    commit: str
    tally: Tally


class Run:
    """A run over one tree; it may write as long as no other run of the repository has begun."""

    def __init__(
        self, host: Host, settings: ContextSettings, at: Repository, root: Path, run_id: str, pool: Pool, meter: Meter
    ) -> None:
        self._host = host
        self._settings = settings
        self._at = at
        self._root = root
        self._run_id = run_id
        self._pool = pool
        self._meter = meter
        self._limits = Limits(settings.max_file_bytes, settings.max_symbols, settings.max_imports)
        self._tally = Tally()
        # so many batches are read or wait for the store at a time
        self._room = asyncio.Semaphore(settings.workers + 1)

    async def execute(self) -> Outcome:
        """Does all but the publishing. Raises TreeTooLarge, RunLost or RootGone; the index that is shown stays."""
        commit = await asyncio.to_thread(lambda: git.head(git.find(self._root)))
        self._meter.enter(Phase.READING, self._at.files if self._at.generation else await self._count_files())
        before = await asyncio.to_thread(_identity, self._root)
        await self._read_tree()
        # what is moved away or removed on the way looks like a tree whose files are gone
        if (after := await asyncio.to_thread(_identity, self._root)) != before or before is None:
            raise RootReplaced if after else RootGone
        tally = self._tally
        if not tally.anything_new and self._at.generation:
            return Outcome(self._at.generation, self._at.resolved_imports, tally.skipped, commit, tally)
        resolved = await link(self.read, self.write, self._at, self._settings.max_central_files, self._meter)
        return Outcome(self._at.building, resolved, tally.skipped, commit, tally)

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Reads what this run writes on; RunLost when another one has begun, which undoes it."""
        return await self._host.db.read(partial(self.guarded, work=work))

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Runs `work` in a transaction if this run may still write; RunLost otherwise."""
        return await self._host.db.write(partial(self.guarded, work=work))

    async def guarded(self, tx: Transaction, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """The same inside a transaction."""
        if not await store_runs.may_write(tx, self._at.repo_id, self._run_id):
            raise RunLost
        return await work(tx)

    async def _count_files(self) -> int:
        """Walks once more, which is little beside parsing them all, so that it is known how many there are."""
        walk, more = await asyncio.to_thread(self._walk), True
        while more:
            entries = await asyncio.to_thread(lambda: list(islice(walk, _STRETCH)))
            more = len(entries) == _STRETCH and self._meter.now.done <= self._settings.max_files
            self._meter.add(sum(isinstance(entry, Found) for entry in entries))
        return self._meter.now.done

    async def _read_tree(self) -> None:
        walk = await asyncio.to_thread(self._walk)
        after, more = "", True
        try:
            async with asyncio.TaskGroup() as tasks:
                while more:
                    entries = await asyncio.to_thread(lambda: list(islice(walk, _STRETCH)))
                    more = len(entries) == _STRETCH
                    found = self._count(entries)
                    upto = found[-1].path if found and more else after
                    changes = compare(found, await self._known(after, upto if more else None))
                    after = upto
                    await self._drop(changes)
                    for batch in _batches(changes.to_read, self._settings.batch_files):
                        await self._room.acquire()
                        tasks.create_task(self._read_batch(batch))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    def _walk(self) -> Iterator[Found | Skipped]:
        return iter(Walk(self._root, frozenset(self._settings.skip_names), self._settings.max_file_bytes))

    def _count(self, entries: Entries) -> list[Found]:
        """Tallies a stretch and gives its files; raises when a limit is passed."""
        tally, found = self._tally, []
        for entry in entries:
            tally.files += 1
            if isinstance(entry, Found):
                tally.bytes += entry.size
                found.append(entry)
            elif not entry.path:
                raise RootGone
            else:
                tally.skip(entry.path, entry.reason)
        if tally.files > self._settings.max_files:
            raise TreeTooLarge("max_files", self._settings.max_files)
        if tally.bytes > self._settings.max_tree_bytes:
            raise TreeTooLarge("max_tree_bytes", self._settings.max_tree_bytes)
        return found

    async def _known(self, after: str, upto: str | None) -> list[Known]:
        if not self._at.generation:
            return []
        known = partial(store.known_between, at=self._at, limits=self._limits, after=after, upto=upto)
        return await self.read(known)

    async def _drop(self, changes: Changes) -> None:
        self._tally.unchanged += changes.unchanged
        self._tally.deleted += len(changes.gone)
        self._meter.add(changes.unchanged)
        if changes.gone:
            ended = [known.file_id for known in changes.gone]
            await self.write(partial(store.retire_files, generation=self._at.building, file_ids=ended))

    async def _read_batch(self, batch: ToRead) -> None:
        try:
            read_us = to_us(self._host.clock.now())
            asked = [(found.path, known.content_hash if known else "") for found, known in batch]
            outcomes = await self._pool.read(self._root, asked, self._limits)
            plan = self._plan(batch, outcomes)
            await self.write(partial(self._keep, plan=plan, read_us=read_us))
            self._meter.add(len(batch), sum(found.size for found, _ in batch))
        finally:
            self._room.release()

    def _plan(self, batch: ToRead, outcomes: Outcomes) -> "_Plan":
        plan, tally = _Plan(), self._tally
        for (found, known), (path, outcome) in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Reason):
                tally.skip(path, outcome)
                tally.deleted += known is not None
            elif outcome.parsed is None and known:
                tally.unchanged += 1
                plan.touched.append((known, found))
                continue
            elif outcome.parsed is not None:
                tally.added += known is None
                tally.changed += known is not None
                plan.added.append((found, outcome, outcome.parsed))
            if known:
                plan.ended.append(known.file_id)
        return plan

    async def _keep(self, tx: Transaction, plan: "_Plan", read_us: int) -> None:
        for known, found in plan.touched:
            await store.touch_file(tx, known.file_id, found, read_us)
        if plan.ended:
            await store.retire_files(tx, self._at.building, plan.ended)
        if plan.added:
            await store.add_files(tx, self._at, plan.added, read_us)


@dataclass
class _Plan:
    """What a batch that was read does to the store."""

    touched: list[tuple[Known, Found]] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    added: list[tuple[Found, Read, Parsed]] = field(default_factory=list)


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another one of the same name; None when there is none."""
    try:
        status = folder.stat(follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _batches(to_read: ToRead, size: int) -> Iterator[ToRead]:
    for start in range(0, len(to_read), size):
        yield to_read[start : start + size]
