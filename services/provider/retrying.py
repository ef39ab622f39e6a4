"""Calling the same target again: how often for which failure, after how long, and only while the retry budget lasts.

Waits are exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). The budget
is a token bucket that each call fills by a share of a token and each retry takes one from, so that retries cannot multiply the load
of a provider that is down (Finagle `RetryBudget`; gRPC proposal A6, "retry throttling"; Google SRE book, ch. 21).
"""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta

from msgspec import Struct, field

from services.provider.failure import FailureKind

# draws from 0 (in) to 1 (out), as random.random does
Chance = Callable[[], float]
_MOST_DOUBLINGS = 62


class RetryPolicy(Struct, frozen=True):
    """How often the same target is called again after each class of failure (absent: never), and how long before."""

    retries: Mapping[FailureKind, int] = field(default_factory=dict)
    base: timedelta = timedelta(milliseconds=250)
    longest: timedelta = timedelta(seconds=8)

    def allows(self, kind: FailureKind, failures: int) -> bool:
        """Whether a target that failed so many times in this way, this time included, may be called again."""
        return failures <= self.retries.get(kind, 0)

    def backoff(self, failures: int, chance: Chance) -> timedelta:
        """The wait after that many failures: anything from 0 to the base doubled with each failure, at most `longest`."""
        doublings = min(max(failures - 1, 0), _MOST_DOUBLINGS)
        ceiling = min(self.base.total_seconds() * 2**doublings, self.longest.total_seconds())
        return timedelta(seconds=chance() * ceiling)


class RetryBudget:
    """Retries that a process may make: within any `window` at most `share` of its calls plus `minimum` a second.

    It is kept by each process for itself: shares of each process's calls add up to the same share of all of them.
    """

    def __init__(self, share: float = 0.2, minimum: float = 1.0, window: timedelta = timedelta(seconds=10)) -> None:
        self._share = share
        self._window = window.total_seconds()
        self._reserve = minimum * self._window
        # by second, so that memory is bounded by the window and not by the traffic: (second, calls, retries)
        self._seconds: deque[tuple[int, int, int]] = deque()

    def deposit(self, now: float) -> None:
        """Counts a call; `now` is in seconds of a clock that only grows."""
        self._add(now, calls=1)

    def withdraw(self, now: float) -> bool:
        """Takes one retry from the budget; False when nothing is left."""
        if self.left(now) < 1:
            return False
        self._add(now, retries=1)
        return True

    def left(self, now: float) -> float:
        """Retries that may still be made in the window that ends now."""
        oldest = int(now) - self._window
        while self._seconds and self._seconds[0][0] <= oldest:
            self._seconds.popleft()
        calls = sum(calls for _, calls, _ in self._seconds)
        retries = sum(retries for _, _, retries in self._seconds)
        return self._reserve + self._share * calls - retries

    def _add(self, now: float, calls: int = 0, retries: int = 0) -> None:
        second = int(now)
        if self._seconds and self._seconds[-1][0] >= second:
            second, before_calls, before_retries = self._seconds.pop()
            calls, retries = calls + before_calls, retries + before_retries
        self._seconds.append((second, calls, retries))
