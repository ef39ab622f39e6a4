"""Traffic in a window: what Envoy counted until now less what it had counted before, and quantiles from the buckets between."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from envoy.statistics import Buckets, Counted, Outcome

# the service's or the mesh's fault, as OpenTelemetry has it for servers: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
# UNAVAILABLE, DATA_LOSS
_FAILURES = frozenset({2, 4, 12, 13, 14, 15})
_OK, _CANCELLED = 0, 1
_CLIENT_ERRORS, _SERVER_ERRORS, _CLIENT_LEFT = 400, 500, 499


@dataclass(frozen=True)
class Tally:
    """The calls of a service since Envoy was started, and those that it answers now."""

    calls: int = 0
    failed: int = 0
    refused: int = 0
    active: int = 0
    times: Buckets = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """The tallies of all services at one moment."""

    at: float
    time: datetime
    services: Mapping[str, Tally]


@dataclass(frozen=True)
class Window:
    """What happened between two samples; `seconds` lie between them."""

    seconds: float
    time: datetime
    services: Mapping[str, Tally]


def tally(counted: Counted) -> Tally:
    """What Envoy counted of a service, sorted into failures and refusals."""
    failed = sum(number for outcome, number in counted.calls.items() if is_failure(outcome))
    refused = sum(number for outcome, number in counted.calls.items() if is_refusal(outcome))
    return Tally(counted.calls.total(), failed, refused, counted.active, counted.unary_times)


def is_failure(outcome: Outcome) -> bool:
    """True when the mesh is to blame."""
    return outcome.http_status >= _SERVER_ERRORS or outcome.grpc_status in _FAILURES


def is_refusal(outcome: Outcome) -> bool:
    """True when the caller is to blame; a caller that left is not."""
    if is_failure(outcome):
        return False
    by_http = outcome.http_status >= _CLIENT_ERRORS and outcome.http_status != _CLIENT_LEFT
    return by_http or outcome.grpc_status > _CANCELLED


class Ring:
    """The samples of the last while, oldest first; a restart of Envoy, which counts from zero again, begins anew."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._samples: deque[Sample] = deque()

    def __len__(self) -> int:
        return len(self._samples)

    def clear(self) -> None:
        """Forgets all."""
        self._samples.clear()

    def add(self, sample: Sample) -> None:
        """Keeps a sample, and drops those that no window reaches any more."""
        if self._samples and _counts_anew(self._samples[-1], sample):
            self._samples.clear()
        self._samples.append(sample)
        # one older than the whole length stays: a window of that length begins there
        while len(self._samples) > 2 and self._samples[1].at <= sample.at - self._seconds:  # noqa: PLR2004 - a window has two ends
            self._samples.popleft()

    def window(self, seconds: float) -> Window | None:
        """The newest sample against the youngest that is at least so much older, or the oldest; None with fewer than two."""
        if len(self._samples) < 2:  # noqa: PLR2004 - a window has two ends
            return None
        newest = self._samples[-1]
        begin = newest.at - seconds
        older = (sample for sample in reversed(self._samples) if sample.at <= begin)
        return between(next(older, self._samples[0]), newest)


def between(old: Sample, new: Sample) -> Window:
    """What happened between two samples."""
    services = {name: _less(now, old.services.get(name, Tally())) for name, now in new.services.items()}
    return Window(new.at - old.at, new.time, services)


def _less(now: Tally, before: Tally) -> Tally:
    times = {bucket: more for bucket, count in now.times.items() if (more := count - before.times.get(bucket, 0)) > 0}
    return Tally(now.calls - before.calls, now.failed - before.failed, now.refused - before.refused, now.active, times)


def _counts_anew(old: Sample, new: Sample) -> bool:
    return any(new.services.get(name, Tally()).calls < before.calls for name, before in old.services.items())


def quantile(buckets: Buckets, share: float) -> float | None:
    """The value that this share of all values does not exceed, taken as evenly spread inside a bucket; None of no values."""
    ordered: Sequence[tuple[tuple[float, float], int]] = sorted(buckets.items())
    wanted = share * sum(buckets.values())
    seen = 0
    for (low, width), count in ordered:
        if count and seen + count >= wanted:
            return low + width * (wanted - seen) / count
        seen += count
    return None
