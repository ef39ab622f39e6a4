"""The numbers by which the log knows event types: kept in the bucket, so that a type that leaves the contracts is still found."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bus.filters import Filter
from bus.jetstream.bucket import Bucket
from mesh import contracts

_KEY = "types"


class Types:
    """Numbers from 1 for each pair of type and source."""

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        self.rows = [(number, name, source) for number, (name, source) in enumerate(rows, 1)]
        self._numbers = {name: number for number, name, _ in self.rows}
        self._sources = ["", *(source for _, _, source in self.rows)]
        self.depths = frozenset(name.count(".") + 1 for _, name, _ in self.rows)

    @classmethod
    async def load(cls, bucket: Bucket) -> Types:
        """The numbers that stand, and new ones for what the contracts have beside."""
        entry = await bucket.get(_KEY)
        known = [(str(name), str(source)) for name, source in json.loads(entry.value)] if entry else []
        wanted = [(each.type, each.owner) for each in contracts.catalogue().values()]
        added = [row for row in wanted if row not in known]
        if added:
            value = json.dumps([*known, *added]).encode()
            await bucket.update(_KEY, value, entry.revision if entry else 0)
        return cls([*known, *added])

    def number_of(self, name: str) -> int:
        """The number of a type; 0 when there is none."""
        return self._numbers.get(name, 0)

    def name_of(self, number: int) -> str:
        """The type of a number."""
        return self.rows[number - 1][1]

    def source_of(self, number: int) -> str:
        """The source that a number stands for."""
        return self._sources[number]

    def matching(self, pattern: str) -> list[str]:
        """The types that a pattern names."""
        chosen = Filter((pattern,))
        return list(dict.fromkeys(name for _, name, source in self.rows if chosen.wants_type(name, source)))
