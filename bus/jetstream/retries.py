"""Events that wait for their next delivery, as the bucket keeps them: neighbours share a value, so that a change is small."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# positions that share a value: the longest subjects and errors of so many fit into one message
_SHARED = 128


@dataclass(frozen=True)
class Waiting:
    """An event that waits; `kept`: its body is kept beside it (a redriven dead letter); `asked_us`: the wait that a nack named."""

    subject: str
    attempts: int
    due_us: int
    error: str
    kept: bool = False
    asked_us: int = 0


def changed(before: Mapping[int, Waiting], after: Mapping[int, Waiting]) -> Iterator[tuple[int, bytes | None]]:
    """The values that differ, each with its number; None for one that holds nothing any more."""
    if before is after:
        return
    touched = {number_of(position) for position in before.keys() | after.keys() if before.get(position) != after.get(position)}
    groups: dict[int, dict[int, Waiting]] = defaultdict(dict)
    for position, each in after.items():
        if number_of(position) in touched:
            groups[number_of(position)][position] = each
    for number in sorted(touched):
        yield number, encode(groups[number]) if number in groups else None


def number_of(position: int) -> int:
    """The number of the value that a position is in."""
    return position // _SHARED


def encode(retries: Mapping[int, Waiting]) -> bytes:
    """A value."""
    plain = {
        str(position): [each.subject, each.attempts, each.due_us, each.error, each.kept, each.asked_us]
        for position, each in retries.items()
    }
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode()


def decode(value: bytes) -> dict[int, Waiting]:
    """The inverse of encode()."""
    return {int(position): Waiting(*each) for position, each in json.loads(value).items()}
