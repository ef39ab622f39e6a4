"""A rolling window of what was seen of a model or a key: calls, failures by class, and how long answers and first tokens took.

Time is cut into buckets of equal width; the window is the newest `buckets` of them, so its granularity is one bucket, and an event
counts for between `buckets - 1` and `buckets` widths. Lengths of time go into logarithmic bins, as in DDSketch (Masson, Rim & Lee,
VLDB 2019), so that a quantile is off by at most `ERROR` of its value and a bucket holds at most `_BINS` numbers of each.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct, field

from services.provider.cooldown import MEANINGS
from services.provider.failure import FailureKind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ERROR = 0.1
_GAMMA = (1 + ERROR) / (1 - ERROR)
_SHORTEST, _LONGEST = 0.001, 86_400.0
_BINS = math.ceil(math.log(_LONGEST / _SHORTEST, _GAMMA)) + 1


class Grain(Struct, frozen=True):
    """How time is cut."""

    width: timedelta = timedelta(seconds=30)
    buckets: int = 10

    def number(self, moment: datetime) -> int:
        """The number of the bucket in which a moment lies."""
        return (moment - EPOCH) // self.width

    def oldest(self, now: datetime) -> int:
        """The number of the oldest bucket of the window."""
        return self.number(now) - self.buckets + 1


class Bucket(Struct, frozen=True):
    """What was seen in one width of time; failures by class, lengths of time by bin."""

    number: int
    calls: int = 0
    failures: Mapping[int, int] = field(default_factory=dict)
    latencies: Mapping[int, int] = field(default_factory=dict)
    first_tokens: Mapping[int, int] = field(default_factory=dict)

    @property
    def own(self) -> int:
        """Failures that are the model's own."""
        return sum(count for kind, count in self.failures.items() if MEANINGS[FailureKind(kind)].of_model)

    @property
    def tested(self) -> int:
        """Calls that could have been such failures: those and successes."""
        return self.calls - sum(self.failures.values()) + self.own


class Figures(Struct, frozen=True):
    """What the window holds: p50 and p95 are None when nothing was measured."""

    calls: int = 0
    failures: Mapping[FailureKind, int] = field(default_factory=dict)
    latency_p50: timedelta | None = None
    latency_p95: timedelta | None = None
    first_token_p50: timedelta | None = None
    first_token_p95: timedelta | None = None


Window = Iterable[Bucket]


class Call(Struct, frozen=True):
    """One call: how it failed (None: not), whether that counts (None: it says nothing), how long it took (None: not measured)."""

    kind: FailureKind | None = None
    counts: bool | None = False
    latency: timedelta | None = None
    first_token: timedelta | None = None


class Seen(Struct, frozen=True):
    """What changes with each call to a model or a key; the lengths of time are moving averages (None: not measured)."""

    failures_in_row: int = 0
    latency: timedelta | None = None
    first_token: timedelta | None = None
    bucket: Bucket = field(default_factory=lambda: Bucket(0))


def after(seen: Seen, grain: Grain, now: datetime, call: Call, weight: float) -> Seen:
    """What was seen with one more call; `weight` (0..1) is what the newest length of time counts.

    Its bucket is a new one when time has come to the next: who keeps the window then puts the one before away.
    """
    in_row = {True: seen.failures_in_row + 1, False: 0, None: seen.failures_in_row}[call.counts]
    latency, first_token = _average(seen.latency, call.latency, weight), _average(seen.first_token, call.first_token, weight)
    return Seen(in_row, latency, first_token, added(seen.bucket, grain, now, call))


def added(bucket: Bucket, grain: Grain, now: datetime, call: Call) -> Bucket:
    """The bucket of this moment with one more call; a clock that was set back does not bring an old one to life."""
    number = grain.number(now)
    newest = bucket if bucket.number >= number else Bucket(number)
    return Bucket(
        newest.number,
        newest.calls + 1,
        _plus(newest.failures, call.kind),
        _plus(newest.latencies, None if call.latency is None else bin_of(call.latency)),
        _plus(newest.first_tokens, None if call.first_token is None else bin_of(call.first_token)),
    )


def figures(window: Window, grain: Grain, now: datetime) -> Figures:
    """What the buckets that are still in the window show now."""
    buckets = [bucket for bucket in window if bucket.number >= grain.oldest(now)]
    failures, latencies, first_tokens = Counter[int](), Counter[int](), Counter[int]()
    for bucket in buckets:
        failures.update(bucket.failures)
        latencies.update(bucket.latencies)
        first_tokens.update(bucket.first_tokens)
    return Figures(
        sum(bucket.calls for bucket in buckets),
        {FailureKind(kind): count for kind, count in sorted(failures.items())},
        _quantile(latencies, 0.5),
        _quantile(latencies, 0.95),
        _quantile(first_tokens, 0.5),
        _quantile(first_tokens, 0.95),
    )


def bin_of(length: timedelta) -> int:
    """The bin of a length of time; a thousandth of a second and less is 0, more than a day is the last."""
    seconds = min(max(length.total_seconds(), _SHORTEST), _LONGEST)
    return math.ceil(math.log(seconds / _SHORTEST, _GAMMA) - 1e-9)


def length_of(number: int) -> timedelta:
    """The length of time that stands for a bin: off by at most `ERROR` for any in it."""
    return timedelta(seconds=_SHORTEST * 2 * _GAMMA**number / (1 + _GAMMA))


def _average(before: timedelta | None, seen: timedelta | None, weight: float) -> timedelta | None:
    if before is None or seen is None:
        return before if seen is None else seen
    return before + weight * (seen - before)


def _plus(counts: Mapping[int, int], key: int | None) -> Mapping[int, int]:
    return counts if key is None else {**counts, int(key): counts.get(key, 0) + 1}


def _quantile(bins: Mapping[int, int], share: float) -> timedelta | None:
    """The smallest bin up to which at least that share of the lengths lies."""
    rank, seen = share * sum(bins.values()), 0
    for number in sorted(bins):
        seen += bins[number]
        if seen >= rank:
            return length_of(number)
    return None
