"""The store of subscriptions in a JetStream bucket: a key for each one's state, and one for each dead letter.

Every change of a subscription is one atomic batch guarded by the revision of its state, so a dead letter is there exactly when the
floor has passed it, and a bus that lost the log cannot write any more.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from tooloo.event.v1.event_pb2 import Event

from bus.deliveries import Changes, Dead, Retry
from bus.jetstream import retries as retry_values
from bus.jetstream.ballast import Ballast
from bus.jetstream.bucket import Bucket, Change, batches_of
from bus.jetstream.connection import BATCH, WrongSequence
from bus.jetstream.letter import Letter
from bus.jetstream.retries import Waiting
from bus.jetstream.state import State
from bus.storage import DiskFull, NoSubscription, Some, Stored, StoredDeadLetter
from mesh.unbroken import unbroken

_STATES, _RETRIES, _LETTERS, _KEPT = "subscription", "retry", "letter", "kept"
# dead letters of one batch, with the events that are kept of them, the values of their retries, and the state beside them
_LETTERS_PER_BATCH = BATCH // 3 - 1
# dead letters that are read side by side
_LETTERS_AT_ONCE = 32
Events = Callable[[Sequence[int]], Awaitable[dict[int, Event]]]


class JetStreamSubscriptionStore:
    """Holds what it wrote in memory, for it is the only one that writes."""

    def __init__(
        self, bucket: Bucket, ballast: Ballast, epoch: int, events: Events, on_lost: Callable[[BaseException], None]
    ) -> None:
        self._bucket = bucket
        self._ballast = ballast
        self._epoch = epoch
        self._events = events
        self._on_lost = on_lost
        self._states: dict[str, State] = {}
        self._revisions: dict[str, int] = {}
        # the subject of each dead letter, by subscription and position
        self._letters: dict[str, dict[int, str]] = defaultdict(dict)
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def load(self) -> None:
        """Takes over what stands there: writes every state under this owner's epoch, which fences the owner before."""
        for key in await self._bucket.keys(_STATES):
            await self._take_over(key.removeprefix(f"{_STATES}."))
        for key in await self._bucket.keys(_RETRIES):
            name, entry = key.split(".")[1], await self._bucket.get(key)
            if name in self._states and entry is not None:
                retries = {**self._states[name].retries, **retry_values.decode(entry.value)}
                self._states[name] = replace(self._states[name], retries=retries)
        for key in await self._bucket.keys(_LETTERS):
            _, name, position = key.split(".")
            entry = await self._bucket.get(key)
            if name in self._states and entry is not None:
                self._letters[name][int(position)] = Letter.decode(entry.value).subject
            else:
                # a mark that a deletion left, or a letter of a subscription that is gone
                await self._bucket.remove([key])

    async def next_epoch(self) -> int:
        """The epoch of this owner of the log."""
        return self._epoch

    async def every(self) -> list[Stored]:
        """Every subscription, by name."""
        return [state.stored(name) for name, state in sorted(self._states.items())]

    @unbroken
    async def insert(self, stored: Stored) -> None:
        """Makes a subscription."""
        async with self._locks[stored.name]:
            await self._write(stored.name, State.of(stored, self._epoch))

    @unbroken
    async def update_definition(self, name: str, definition: bytes) -> None:
        """Replaces a definition."""
        async with self._locks[name]:
            await self._write(name, replace(self._state(name), definition=definition))

    @unbroken
    async def set_paused(self, name: str, paused: bool) -> None:
        """Pauses or resumes."""
        async with self._locks[name]:
            await self._write(name, replace(self._state(name), paused=paused))

    @unbroken
    async def delete(self, name: str) -> None:
        """Deletes a subscription with its retries and dead letters."""
        async with self._locks[name]:
            # its letters first: one of the same name that is made later must not find them
            kept = [_key(_KEPT, name, position) for position, each in self._states[name].retries.items() if each.kept]
            letters = [_key(_LETTERS, name, position) for position in self._letters.pop(name, {})]
            numbers = dict.fromkeys(map(retry_values.number_of, self._states[name].retries))
            await self._bucket.remove([*letters, *kept, *(_key(_RETRIES, name, number) for number in numbers)])
            await self._guarded(name, None, ())
            del self._states[name]

    @unbroken
    async def move(self, name: str, floor: int) -> None:
        """Moves a subscription: all up to `floor` counts as settled, nothing beyond it; dead letters stay, redriven or not."""
        async with self._locks[name]:
            state = self._state(name)
            redriven = {position: each for position, each in state.retries.items() if each.kept}
            await self._write(name, replace(state, floor=floor, ranges=b"", retries=redriven))

    async def retries(self, name: str, due: Callable[[int, int], float]) -> list[Retry]:
        """Events that wait for another delivery."""
        return [
            Retry(
                position, each.subject, each.attempts, due(each.due_us, each.asked_us), each.error, each.asked_us / 1e6, each.kept
            )
            for position, each in sorted(self._state(name).retries.items())
        ]

    async def kept_event(self, name: str, position: int) -> bytes | None:
        """The event that a redriven dead letter brought along."""
        state = self._states.get(name)
        waiting = state.retries.get(position) if state else None
        if waiting is None or not waiting.kept:
            return None
        entry = await self._bucket.get(_key(_KEPT, name, position))
        return entry.value if entry else None

    @unbroken
    async def apply(
        self, name: str, floor: int, ranges: bytes, changes: Changes, us_of: Callable[[float], int], now_us: int
    ) -> None:
        """Writes what a dealer gathered: acks, retries and dead letters together."""
        async with self._locks[name]:
            if name not in self._states:
                return
            retries = dict(self._states[name].retries)
            for retry in changes.retries.values():
                kept = retry.position in retries and retries[retry.position].kept
                asked_us = int(retry.asked * 1e6)
                retries[retry.position] = Waiting(retry.subject, retry.attempts, us_of(retry.due), retry.error, kept, asked_us)
            gone = [p for p in (*changes.forgotten, *changes.dead) if p in retries and p not in changes.retries]
            dead = list(changes.dead.values())
            letters = await self._bucket.patiently(lambda: self._new_letters(name, dead, now_us))
            changed = [Change(_key(_LETTERS, name, letter.position), letter.encode()) for letter in letters]
            forgotten = [Change(_key(_KEPT, name, p), None) for p in dict.fromkeys(gone) if retries[p].kept]
            for position in gone:
                retries.pop(position, None)
            state = replace(self._states[name], floor=floor, ranges=ranges, retries=retries)
            await self._write(name, state, changed, forgotten)
            self._letters[name].update({letter.position: letter.subject for letter in letters})

    async def dead_letters(self, name: str, after: int, limit: int, max_bytes: int) -> Sequence[StoredDeadLetter]:
        """Dead letters beyond a position, oldest first."""
        known = sorted(self._letters.get(name, {}))
        chosen = known[bisect_right(known, after) :][:limit]
        return [letter.stored() for letter in await self._read_letters(name, chosen, max_bytes)]

    async def dead_letter_counts(self) -> Mapping[str, int]:
        """How many dead letters each subscription keeps."""
        return {name: len(positions) for name, positions in self._letters.items() if positions}

    @unbroken
    async def redrive(self, name: str, some: Some, now_us: int) -> list[Retry]:
        """Turns dead letters into retries with fresh attempts, each exactly once; the event goes along."""
        async with self._locks[name]:
            chosen = [position for position in self._chosen(name, some.positions) if position > some.after]
            letters = await self._read_letters(name, chosen[: min(some.most, _LETTERS_PER_BATCH)], some.max_bytes)
            sizes = accumulate(len(letter.event) for letter in letters)
            return await self._redrive(name, letters[: max(1, bisect_right(list(sizes), some.max_bytes))], now_us)

    @unbroken
    async def drop(self, name: str, positions: Sequence[int] | None) -> int:
        """Drops dead letters (None: all) for good."""
        async with self._locks[name]:
            chosen = self._chosen(name, positions)
            await self._write(name, self._state(name), [Change(_key(_LETTERS, name, p), None) for p in chosen])
            self._strike(name, chosen)
            return len(chosen)

    async def erase_subject(self, subject: str) -> None:
        """Erases what subscriptions keep of a subject's events: dead letters, and what was redriven of them."""
        for name in list(self._states):
            async with self._locks[name]:
                await self._erase_subject(name, subject)

    @unbroken
    async def _erase_subject(self, name: str, subject: str) -> None:
        state = self._states.get(name)
        if state is None:
            return
        letters = [position for position, of in self._letters[name].items() if of == subject]
        kept = [position for position, each in state.retries.items() if each.kept and each.subject == subject]
        keys = [*(_key(_LETTERS, name, position) for position in letters), *(_key(_KEPT, name, position) for position in kept)]
        if keys:
            for key in keys:
                await self._bucket.overwrite(key)
            retries = {position: each for position, each in state.retries.items() if position not in kept}
            await self._write(name, replace(state, retries=retries), [Change(key, None) for key in keys])
            self._strike(name, letters)

    def _state(self, name: str) -> State:
        """Where a subscription stands; NoSubscription when it was deleted while somebody waited."""
        if name not in self._states:
            raise NoSubscription(name)
        return self._states[name]

    async def _take_over(self, name: str) -> None:
        while (entry := await self._bucket.get(_key(_STATES, name))) is not None:
            state = State.decode(entry.value).with_epoch(self._epoch)
            try:
                value = state.encode(entry.revision)
                self._revisions[name] = await self._bucket.update(_key(_STATES, name), value, entry.revision)
            except WrongSequence:
                # the owner before wrote once more: that counts
                continue
            self._states[name] = state
            return
        await self._bucket.remove([_key(_STATES, name)])

    async def _redrive(self, name: str, letters: Sequence[Letter], now_us: int) -> list[Retry]:
        if not letters:
            return []
        retries = dict(self._states[name].retries)
        for letter in letters:
            retries[letter.position] = Waiting(letter.subject, 0, now_us, "", kept=True)
        kept = [Change(_key(_KEPT, name, letter.position), letter.event) for letter in letters]
        # in the end: what is cut off between two batches must not leave an event that is neither a letter nor a retry
        struck = [Change(_key(_LETTERS, name, letter.position), None) for letter in letters]
        await self._write(name, replace(self._states[name], retries=retries), kept, struck)
        self._strike(name, [letter.position for letter in letters])
        return [Retry(letter.position, letter.subject, 0, 0.0, "", redriven=True) for letter in letters]

    async def _read_letters(self, name: str, positions: Sequence[int], max_bytes: int) -> list[Letter]:
        """The letters at these positions, no more once their events take more than so many bytes."""
        found: list[Letter] = []
        start, count, size = 0, 2, 0
        while start < len(positions) and size <= max_bytes:
            keys = [_key(_LETTERS, name, position) for position in positions[start : start + count]]
            entries = await asyncio.gather(*map(self._bucket.get, keys))
            found += [Letter.decode(entry.value) for entry in entries if entry]
            size = sum(len(letter.event) for letter in found)
            # of large ones few are wanted
            start, count = start + count, min(2 * count, _LETTERS_AT_ONCE)
        return found

    async def _new_letters(self, name: str, dead: Sequence[Dead], now_us: int) -> list[Letter]:
        if not dead:
            return []
        found = await self._events([each.position for each in dead])
        letters = []
        for each in dead:
            kept = await self.kept_event(name, each.position)
            event = Event.FromString(kept) if kept else found.get(each.position)
            # what is not settled leaves the log by an erase alone, and then no letter of it may be kept
            if event is not None:
                letters.append(Letter.of(each, event, now_us))
        return letters

    async def _write(self, name: str, state: State, others: Sequence[Change] = (), last: Sequence[Change] = ()) -> None:
        """Writes a state, the retries that differ, and other changes; more than one batch takes lead to the one with the state."""
        before = self._states[name].retries if name in self._states else {}
        retries = [Change(_key(_RETRIES, name, number), value) for number, value in retry_values.changed(before, state.retries)]
        *before_it, beside_it = batches_of([*others, *retries, *last])
        for changes in before_it:
            await self._guarded(name, self._states[name], changes)
        await self._guarded(name, state, beside_it)
        self._states[name] = state

    async def _guarded(self, name: str, state: State | None, others: Sequence[Change]) -> None:
        revision = self._revisions.get(name, 0)
        value = None if state is None else state.encode(revision)
        while True:
            try:
                self._revisions[name] = await self._bucket.update(_key(_STATES, name), value, revision, others)
            except DiskFull:
                if not await self._bucket.patiently(self._ballast.give_up):
                    raise
            except WrongSequence as error:
                self._on_lost(error)
                raise
            else:
                return

    def _chosen(self, name: str, positions: Sequence[int] | None) -> list[int]:
        known = sorted(self._letters.get(name, {}))
        wanted = None if positions is None else set(positions)
        return [position for position in known if wanted is None or position in wanted]

    def _strike(self, name: str, positions: Sequence[int]) -> None:
        for position in positions:
            self._letters[name].pop(position, None)


def _key(kind: str, name: str, position: int | None = None) -> str:
    return f"{kind}.{name}" if position is None else f"{kind}.{name}.{position}"
