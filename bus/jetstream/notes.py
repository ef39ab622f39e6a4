"""What outlives its event: the newest position of each subject, and ids that are still remembered; noted before the event goes."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from bus.jetstream.ballast import Ballast
from bus.jetstream.bucket import Bucket, Change
from bus.jetstream.messages import key_of, message_id
from bus.jetstream.subjects import every_type
from bus.storage import DiskFull

_VERSION, _IDS = "version", "ids"
# positions that share a value
_SHARED = 1000
_AT_ONCE = 32


class Notes:
    """A bucket of its own. A version is kept by type and subject: of one type events go in their order, so no value ever falls."""

    def __init__(self, bucket: Bucket, ballast: Ballast) -> None:
        self._bucket = bucket
        self._ballast = ballast

    async def ids(self) -> list[tuple[int, bytes]]:
        """The ids of events that are gone, each with its position, ascending."""
        found: dict[int, bytes] = {}
        for value in await self._values(await self._bucket.keys(_IDS)):
            found.update((position, key_of(identifier)) for position, identifier in value.items())
        return sorted(found.items())

    async def note_ids(self, ids: Mapping[int, bytes]) -> None:
        """Remembers the ids of events that are about to go, by position; DiskFull."""
        groups: dict[str, dict[int, str]] = defaultdict(dict)
        for position, key in ids.items():
            groups[f"{_IDS}.{position // _SHARED}"][position] = message_id(key)
        for (name, fresh), standing in zip(groups.items(), await self._values(list(groups)), strict=True):
            await self._put([Change(name, json.dumps({**standing, **fresh}).encode())])

    async def forget_ids(self, up_to: int) -> None:
        """Forgets ids of events at or below a position."""
        keys = [key for key in await self._bucket.keys(_IDS) if int(key.rpartition(".")[2]) < up_to // _SHARED]
        await self._bucket.remove(keys)

    async def note_versions(self, newest: Mapping[str, int]) -> None:
        """Remembers where the newest event stood that went, by `type.subject` as in the stream; DiskFull."""
        await self._put([Change(f"{_VERSION}.{place}", str(position).encode()) for place, position in newest.items()])

    async def version_of(self, subject: str, depths: frozenset[int]) -> int:
        """The highest position that is noted of a subject; 0 when there is none. `depths` as in every_type()."""
        found = await asyncio.gather(*map(self._bucket.matching, every_type(_VERSION, subject, depths)))
        return max((int(entry.value) for entries in found for entry in entries), default=0)

    async def forget_subject(self, subject: str, depths: frozenset[int]) -> None:
        """Overwrites what is noted of a subject's versions."""
        for pattern in every_type(_VERSION, subject, depths):
            await self._bucket.overwrite_matching(pattern)

    async def _values(self, keys: Sequence[str]) -> list[dict[int, str]]:
        """The ids under some keys; none where there is no value."""
        found: list[dict[int, str]] = []
        for part in _parts(keys):
            for entry in await asyncio.gather(*map(self._bucket.get, part)):
                plain = json.loads(entry.value) if entry else {}
                found.append({int(position): identifier for position, identifier in plain.items()})
        return found

    async def _put(self, changes: Sequence[Change]) -> None:
        """Writes, also on the room that is kept back."""
        try:
            await self._bucket.put_all(changes)
        except DiskFull:
            if not await self._bucket.patiently(self._ballast.give_up):
                raise
            await self._bucket.put_all(changes)


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))
