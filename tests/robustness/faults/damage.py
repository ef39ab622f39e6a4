"""A damaged disk: a byte that flipped in a page, a file that ends too soon."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

PAGE = 8192


@dataclass(frozen=True)
class Damage:
    """One fault of a file: what was done to it and the content that is left."""

    what: str
    content: bytes


def flipped(content: bytes, chance: random.Random) -> Iterator[Damage]:
    """For every page the file with one byte of it changed."""
    for start in range(0, len(content), PAGE):
        at = chance.randrange(start, min(start + PAGE, len(content)))
        yield flip(content, at, chance.randrange(1, 256))


def flip(content: bytes, at: int, by: int) -> Damage:
    """The file with one byte changed."""
    return Damage(f"byte {at} xor {by}", content[:at] + bytes([content[at] ^ by]) + content[at + 1 :])


def truncated(content: bytes, chance: random.Random) -> Iterator[Damage]:
    """For every page the file that ends behind it, and one that ends within it; a file of no bytes is new, not damaged."""
    for start in range(0, len(content), PAGE):
        end = min(start + PAGE, len(content))
        for left in {chance.randrange(start + 1, end), end} - {len(content)}:
            yield Damage(f"cut off at {left}", content[:left])
