"""Sharing requests among models by weight so that the same caller always gets the same one: canaries, and the weighted strategy.

Weighted rendezvous hashing (Schindelhauer & Schomaker, "Weighted Distributed Hash Tables", 2005): each target draws -ln(u) / weight
from the hash of caller and target, and the smallest comes first. When a weight changes, only callers from or to that target move.
"""

import hashlib
import math
from collections.abc import Mapping

Key = tuple[str, str]
_LARGEST = 2**64


def order(shares: Mapping[Key, float], caller: str) -> dict[Key, float]:
    """Where each target with a weight above 0 stands for this caller, the smallest first."""
    return {key: -math.log(_uniform(caller, key)) / share for key, share in shares.items() if share > 0}


def _uniform(caller: str, key: Key) -> float:
    """A number in (0, 1] that only the caller and the target decide."""
    # lengths apart, so that no two pairs of texts meet in one
    text = f"{len(caller)}:{caller}{len(key[0])}:{key[0]}{key[1]}"
    digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest()
    return (int.from_bytes(digest) + 1) / _LARGEST
