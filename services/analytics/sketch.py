"""A mergeable quantile sketch with a relative error of 1 %.

DDSketch after Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019.
The mapping of values to bins is that of the `ddsketch` package; the bins are kept sparse here (most buckets hold few values), with
integer counts, and never collapsed, so that the bound holds for every quantile and a merge equals one sketch of all values.
"""

import math
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from ddsketch import LogarithmicMapping

ERROR_BOUND = 0.01
# Values nearer to zero than this count as zero. With values up to 1e18 that bounds a sketch at about 3,500 bins for each sign.
SMALLEST = 1e-12

_mapping = LogarithmicMapping(ERROR_BOUND)
_HEADER = struct.Struct("<BQII")
_BIN = struct.Struct("<iQ")
_FORMAT = 1


@dataclass
class Sketch:
    """Counts of values by bin; bins of negative values are keyed by magnitude."""

    zeros: int = 0
    positive: Counter[int] = field(default_factory=Counter)
    negative: Counter[int] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """Number of values."""
        return self.zeros + self.positive.total() + self.negative.total()

    def add(self, value: float) -> None:
        """Counts one finite value."""
        if value >= SMALLEST:
            self.positive[_mapping.key(value)] += 1
        elif value <= -SMALLEST:
            self.negative[_mapping.key(-value)] += 1
        else:
            self.zeros += 1

    def merge(self, other: Self) -> None:
        """Adds all values of another sketch."""
        self.zeros += other.zeros
        self.positive.update(other.positive)
        self.negative.update(other.negative)

    def quantile(self, q: float) -> float:
        """The value at rank floor(q * (count - 1)) of the sorted values, within ERROR_BOUND of it; 0 <= q <= 1.

        ValueError when there are no values.
        """
        if not self.count:
            raise ValueError("an empty sketch has no quantiles")
        left = math.floor(q * (self.count - 1))
        for key in sorted(self.negative, reverse=True):
            left -= self.negative[key]
            if left < 0:
                return -float(_mapping.value(key))
        left -= self.zeros
        if left < 0:
            return 0.0
        for key in sorted(self.positive):
            left -= self.positive[key]
            if left < 0:
                return float(_mapping.value(key))
        raise AssertionError("the rank is below the count")

    def encode(self) -> bytes:
        """Little-endian bytes: format, zeros, number of positive and negative bins, then (key, count) of each."""
        parts = [_HEADER.pack(_FORMAT, self.zeros, len(self.positive), len(self.negative))]
        parts += [_BIN.pack(key, count) for bins in (self.positive, self.negative) for key, count in sorted(bins.items())]
        return b"".join(parts)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Reads what `encode` wrote; ValueError for another format."""
        version, zeros, positives, _ = _HEADER.unpack_from(raw)
        if version != _FORMAT:
            raise ValueError(f"sketch format {version} is not known here")
        bins = list(_BIN.iter_unpack(raw[_HEADER.size :]))
        return cls(zeros, Counter(dict(bins[:positives])), Counter(dict(bins[positives:])))
