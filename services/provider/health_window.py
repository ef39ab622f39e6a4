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

from services.provider.cooldown import MEANINGS
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


@dataclass(frozen=True)
class Call:
    """One call: how it failed (None: not), whether that counts (None: it says nothing), how long it took (None: not measured)."""

    kind: FailureKind | None = None
    counts: bool | None = False
    latency: timedelta | None = None
    first_token: timedelta | None = None


@dataclass(frozen=True)
class Seen:
    """All that is kept of a model or a key; the lengths of time are moving averages (None: not measured)."""

    failures_in_row: int = 0
    latency: timedelta | None = None
    first_token: timedelta | None = None
    window: Window = ()


def after(seen: Seen, grain: Grain, now: datetime, call: Call, weight: float) -> Seen:
    """What was seen with one more call; `weight` (0..1) is what the newest length of time counts."""
    in_row = {True: seen.failures_in_row + 1, False: 0, None: seen.failures_in_row}[call.counts]
    window = added(seen.window, grain, now, call)
    return Seen(in_row, _average(seen.latency, call.latency, weight), _average(seen.first_token, call.first_token, weight), window)


def added(window: Window, grain: Grain, now: datetime, call: Call) -> Window:
    """The window with one more call."""
    # a clock that was set back must not bring old buckets to life
    number = max([grain.number(now), *(bucket.number for bucket in window[-1:])])
    kept = [bucket for bucket in window if bucket.number > number - grain.buckets]
    newest = kept.pop() if kept and kept[-1].number == number else Bucket(number)
    newest = replace(
        newest,
        calls=newest.calls + 1,
        failures=_plus(newest.failures, call.kind),
        latencies=_plus(newest.latencies, None if call.latency is None else bin_of(call.latency)),
        first_tokens=_plus(newest.first_tokens, None if call.first_token is None else bin_of(call.first_token)),
    )
    return (*kept, newest)


def counted(window: Window, grain: Grain, now: datetime, after: datetime = EPOCH) -> tuple[int, Counter[int]]:
    """Calls, and failures by class, in the buckets of the window that began after a moment."""
    buckets = [bucket for bucket in _current(window, grain, now) if bucket.number > grain.number(after)]
    failures: Counter[int] = Counter()
    for bucket in buckets:
        failures.update(bucket.failures)
    return sum(bucket.calls for bucket in buckets), failures


def tested(window: Window, grain: Grain, now: datetime, after: datetime) -> tuple[int, int]:
    """Failures that are the model's own, and calls that could have been: successes and those failures; since a moment."""
    calls, failures = counted(window, grain, now, after)
    own = sum(count for kind, count in failures.items() if MEANINGS[FailureKind(kind)].of_model)
    return own, calls - sum(failures.values()) + own


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


def _average(before: timedelta | None, seen: timedelta | None, weight: float) -> timedelta | None:
    if before is None or seen is None:
        return before if seen is None else seen
    return before + weight * (seen - before)


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
