"""A rolling window of what was seen of a model or a key: calls, failures by class, and how long answers and first tokens took.

Time is cut into buckets of equal width; the window is the newest `buckets` of them, so its granularity is one bucket, and an event
counts for between `buckets - 1` and `buckets` widths. Lengths of time go into logarithmic bins, as in DDSketch (Masson, Rim & Lee,
VLDB 2019), so that a quantile is off by at most `ERROR` of its value and a bucket holds at most `_BINS` numbers of each.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from services.provider.failure import FailureKind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ERROR = 0.1
_GAMMA = (1 + ERROR) / (1 - ERROR)
_SHORTEST, _LONGEST = 0.001, 86_400.0
_BINS = math.ceil(math.log(_LONGEST / _SHORTEST, _GAMMA)) + 1


@dataclass(frozen=True)
class Grain:
    """How time is cut."""

    width: timedelta = timedelta(seconds=30)
    buckets: int = 10

    def number(self, moment: datetime) -> int:
        """The number of the bucket in which a moment lies."""
        return (moment - EPOCH) // self.width


@dataclass(frozen=True)
class Bucket:
    """What was seen in one width of time; failures by class, lengths of time by bin."""

    number: int
    calls: int = 0
    failures: Mapping[int, int] = field(default_factory=dict)
    latencies: Mapping[int, int] = field(default_factory=dict)
    first_tokens: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """What the window holds: p50 and p95 are None when nothing was measured."""

    calls: int = 0
    failures: Mapping[FailureKind, int] = field(default_factory=dict)
    latency_p50: timedelta | None = None
    latency_p95: timedelta | None = None
    first_token_p50: timedelta | None = None
    first_token_p95: timedelta | None = None


Window = tuple[Bucket, ...]


def added(
    window: Window, grain: Grain, now: datetime, kind: FailureKind | None, latency: timedelta | None, first_token: timedelta | None
) -> Window:
    """The window with one more call: how it failed (None: not), how long it took and its first token (None: not measured)."""
    # a clock that was set back must not bring old buckets to life
    number = max([grain.number(now), *(bucket.number for bucket in window[-1:])])
    kept = [bucket for bucket in window if bucket.number > number - grain.buckets]
    newest = kept.pop() if kept and kept[-1].number == number else Bucket(number)
    newest = replace(
        newest,
        calls=newest.calls + 1,
        failures=_plus(newest.failures, kind),
        latencies=_plus(newest.latencies, None if latency is None else bin_of(latency)),
        first_tokens=_plus(newest.first_tokens, None if first_token is None else bin_of(first_token)),
    )
    return (*kept, newest)


def counted(window: Window, grain: Grain, now: datetime, after: datetime = EPOCH) -> tuple[int, Counter[int]]:
    """Calls, and failures by class, in the buckets of the window that began after a moment."""
    buckets = [bucket for bucket in _current(window, grain, now) if bucket.number > grain.number(after)]
    failures: Counter[int] = Counter()
    for bucket in buckets:
        failures.update(bucket.failures)
    return sum(bucket.calls for bucket in buckets), failures


def figures(window: Window, grain: Grain, now: datetime) -> Figures:
    """What the window shows now."""
    buckets = _current(window, grain, now)
    calls, failures = counted(window, grain, now)
    latencies = sum((Counter(bucket.latencies) for bucket in buckets), Counter())
    first_tokens = sum((Counter(bucket.first_tokens) for bucket in buckets), Counter())
    return Figures(
        calls,
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


def _current(window: Window, grain: Grain, now: datetime) -> list[Bucket]:
    return [bucket for bucket in window if bucket.number > grain.number(now) - grain.buckets]


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
