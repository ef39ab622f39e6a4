"""A key-value bucket (as `nats kv` knows it) whose changes of several keys are one atomic batch, guarded by revision."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from bus.jetstream.connection import BATCH, EXPECTED_LAST_OF_SUBJECT, ApiError, Connection, Outgoing, Unreachable, WrongSequence
from bus.jetstream.stream import Stream
from mesh.reconnect import Backoff

_BATCH_BYTES = 8 * 1024 * 1024
_OPERATION = "KV-Operation"
_DELETED = frozenset({"DEL", "PURGE"})
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Entry:
    """A value with the revision at which it was written."""

    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """A new value of a key; None deletes it."""

    key: str
    value: bytes | None


class Bucket:
    """Reads go to the leader: what it answers is never older than what was acknowledged."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._stream = Stream(connection, f"KV_{name}")

    async def ensure(self, replicas: int) -> None:
        """Makes the bucket when it is not there."""
        await self._stream.ensure(_config(self._name, replicas))

    async def get(self, key: str) -> Entry | None:
        """The value of a key; None when it has none."""
        message = await self._stream.last_of(self._subject(key))
        if message is None or message.headers.get(_OPERATION) in _DELETED:
            return None
        return Entry(message.payload, message.sequence)

    async def keys(self, prefix: str) -> list[str]:
        """The keys that begin with `prefix.`, ascending."""
        found: list[str] = []
        while True:
            body = {"subjects_filter": self._subject(f"{prefix}.>"), "offset": len(found)}
            answer = await self._connection.api(f"STREAM.INFO.{self._stream.name}", body)
            page = answer["state"].get("subjects") or {}
            found += page
            if not page or len(found) >= int(answer.get("total", len(found))):
                return sorted(subject.removeprefix(self._subject("")) for subject in found)

    async def update(self, key: str, value: bytes | None, revision: int, others: Sequence[Change] = ()) -> int:
        """Changes a key, and others with it, all or none; gives its new revision. WrongSequence when `revision` is not its last.

        0 stands for a key that has no value yet. Waits for as long as NATS is away: giving up would leave open what stands there.
        DiskFull; Unreachable when the connection was closed meanwhile.
        """
        messages = [self._message(Change(key, value)), *(self._message(other) for other in others)]
        if len(messages) > BATCH:
            raise ValueError(f"a change of {len(messages)} keys is larger than one batch")
        messages[0].headers[EXPECTED_LAST_OF_SUBJECT] = str(revision)
        backoff = Backoff()
        while True:
            try:
                last = await self._connection.publish(messages)
                break
            except WrongSequence:
                written = await self._written(messages[0], revision)
                if written is None:
                    raise
                return written
            except Unreachable:
                if self._connection.closed:
                    raise
                await asyncio.sleep(backoff.wait())
        revision = last - len(messages) + 1
        await self._sweep({other.key: revision + place for place, other in enumerate(others, 1) if other.value is None})
        return revision

    async def put(self, key: str, value: bytes) -> None:
        """Sets a key, whatever it held; DiskFull, Unreachable."""
        await self._connection.publish([self._message(Change(key, value))])

    async def put_all(self, changes: Sequence[Change]) -> None:
        """Sets keys, whatever they held, many at a time; waits for as long as NATS is away. DiskFull."""
        messages = [self._message(change) for change in changes]
        for start in range(0, len(messages), BATCH):
            part = messages[start : start + BATCH]
            await self.patiently(partial(self._connection.publish, part))

    async def matching(self, pattern: str) -> list[Entry]:
        """The values whose keys fit a pattern with NATS's wildcards, a request each."""
        found: list[Entry] = []
        after = 0
        while (message := await self._stream.next_from(after + 1, self._subject(pattern))) is not None:
            after = message.sequence
            if message.headers.get(_OPERATION) not in _DELETED:
                found.append(Entry(message.payload, after))
        return found

    async def overwrite_matching(self, pattern: str) -> None:
        """As overwrite(), for every key that fits a pattern with NATS's wildcards."""
        for entry in await self.matching(pattern):
            await self._stream.erase(entry.revision)

    async def remove(self, keys: Iterable[str]) -> None:
        """Removes keys together with every trace of them; not guarded."""
        for key in keys:
            await self._connection.api(f"STREAM.PURGE.{self._stream.name}", {"filter": self._subject(key)})

    async def overwrite(self, key: str) -> None:
        """Overwrites the value of a key on the disk and takes it away; not guarded."""
        entry = await self.get(key)
        if entry is not None:
            await self._stream.erase(entry.revision)

    async def _written(self, message: Outgoing, revision: int) -> int | None:
        """The revision that an earlier attempt of ours wrote; None when somebody else did."""
        found = await self.patiently(lambda: self._stream.last_of(message.subject))
        ours = found is not None and found.payload == message.payload and found.sequence > revision
        return found.sequence if found is not None and ours else None

    async def patiently(self, ask: Callable[[], Awaitable[R]]) -> R:
        """Asks until NATS answers."""
        backoff = Backoff()
        while True:
            try:
                return await ask()
            except Unreachable:
                if self._connection.closed:
                    raise
                await asyncio.sleep(backoff.wait())

    async def _sweep(self, marks: Mapping[str, int]) -> None:
        """Removes the marks that deletions left, each at its revision; what fails here is removed another time.

        Nothing that came behind them: NATS may do late what was given up here, when a key has a value again.
        """
        with suppress(Unreachable, ApiError):
            for key, revision in marks.items():
                await self._stream.purge(revision, self._subject(key))

    def _subject(self, key: str) -> str:
        return f"$KV.{self._name}.{key}"

    def _message(self, change: Change) -> Outgoing:
        headers = {_OPERATION: "DEL"} if change.value is None else {}
        return Outgoing(self._subject(change.key), change.value or b"", headers)


def batches_of(changes: Sequence[Change]) -> list[list[Change]]:
    """Changes in batches, each with room for one more beside them and of no more bytes than NATS stores within a request's time."""
    batches: list[list[Change]] = [[]]
    size = 0
    for change in changes:
        size += len(change.value or b"")
        if batches[-1] and (len(batches[-1]) >= BATCH - 1 or size > _BATCH_BYTES):
            batches.append([])
            size = len(change.value or b"")
        batches[-1].append(change)
    return batches


def _config(name: str, replicas: int) -> dict[str, Any]:
    return {
        "subjects": [f"$KV.{name}.>"],
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "allow_rollup_hdrs": True,
        "discard": "new",
        "allow_direct": True,
        "allow_atomic": True,
    }
